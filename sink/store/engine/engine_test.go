package engine

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"countersign/sink/store"
)

// engineParent is the first argument under which the test binary plays a process that owns an engine: it starts one on the
// directory that follows, and inserts 500 rows at a time, telling of each insert that returned, until it is killed.
const engineParent = "engine-parent"

func engineParentMain(args []string) int {
	err := func() error {
		ctx := context.Background()
		engine, err := StartEngine(ctx, EngineConfig{Dir: args[0]})
		if err != nil {
			return err
		}
		db, err := store.Open(ctx, store.Config{URL: engine.URL()})
		if err != nil {
			return err
		}
		if err := db.Migrate(ctx); err != nil {
			return err
		}
		fmt.Println("engine", engine.child.Pid)
		for n := 0; ; n += 500 {
			if err := db.InsertHashes(ctx, rowsOf(n, 500)); err != nil {
				return err
			}
			fmt.Println("stored", n+500)
		}
	}()
	fmt.Println("failed", err)
	return 1
}

// I1 for the store: what an insert has confirmed outlives the death of every process, and the directory is usable again at once.
func TestConfirmedRowsSurviveKills(t *testing.T) {
	for _, victims := range []string{"parent", "parent and engine"} {
		t.Run(victims, func(t *testing.T) {
			dir := t.TempDir()
			stored := killedWhileInserting(t, dir, victims == "parent and engine")
			engine := startEngine(t, EngineConfig{Dir: dir})
			db := open(t, engine.URL())
			var asked []byte
			for i := range stored {
				hash := hashOf(i)
				asked = append(asked, hash[:]...)
			}
			owners := map[[32]byte]store.Owner{}
			if err := db.Owners(t.Context(), asked, owners); err != nil {
				t.Fatal(err)
			}
			if len(owners) != stored {
				t.Errorf("%d of %d confirmed rows are there", len(owners), stored)
			}
		})
	}
}

// killedWhileInserting lets a parent insert for a while, kills it, and returns how many rows it had confirmed. The engine must
// be gone soon after.
func killedWhileInserting(t *testing.T, dir string, engineToo bool) (stored int) {
	t.Helper()
	parent := exec.Command(os.Args[0], engineParent, dir)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = parent.Wait() }() // was killed
	defer parent.Process.Kill()
	var pid int
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		switch word, rest, _ := strings.Cut(lines.Text(), " "); word {
		case "engine":
			fmt.Sscan(rest, &pid)
		case "stored":
			fmt.Sscan(rest, &stored)
		default:
			t.Fatal(lines.Text())
		}
		if stored == 5000 {
			if engineToo {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			_ = parent.Process.Kill()
			// Whatever it managed to say until then counts, too: the loop ends with its output.
		}
	}
	for deadline := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the engine outlives its parent")
		}
	}
	return stored
}

// alive says whether a process runs; a zombie that nobody waits for doesn't.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

func startEngine(t *testing.T, cfg EngineConfig) *Engine {
	t.Helper()
	engine, err := StartEngine(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return engine
}

func TestEngineIsReplacedWhenItDies(t *testing.T) {
	engine := startEngine(t, EngineConfig{Dir: t.TempDir()})
	db := open(t, engine.URL())
	if err := db.InsertHashes(t.Context(), rowsOf(0, 1)); err != nil {
		t.Fatal(err)
	}
	engine.kill()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, found, err := db.Hash(t.Context(), hashOf(0))
		if err == nil && found {
			break
		}
		if err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Error("meanwhile:", err)
		}
		if time.Now().After(deadline) {
			t.Fatal(found, err)
		}
	}
	select {
	case <-engine.Done():
		t.Error("Done, though it was replaced")
	default:
	}
}

func TestEngineCloseIsOrderlyAndFreesTheDirectory(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		engine, err := StartEngine(t.Context(), EngineConfig{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(engine.Close(t.Context()), engine.Close(t.Context()), engine.Err()); err != nil {
			t.Error(err)
		}
		<-engine.Done()
	}
}

func TestEngineRefusesADirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	startEngine(t, EngineConfig{Dir: dir})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := StartEngine(ctx, EngineConfig{Dir: dir})
	contains(t, err, dir, "in use by another countersign")
}

func TestEngineTakesAClickhouseBinary(t *testing.T) {
	lib, err := FindLib("")
	if err != nil {
		t.Fatal(err)
	}
	// A stand-in: it is called as `clickhouse local ...` and runs the library with those arguments.
	binary := filepath.Join(t.TempDir(), "clickhouse")
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = local ] || exit 1\nshift\nexec %q %s %q \"$@\"\n", os.Args[0], engineChild, lib)
	if err := os.WriteFile(binary, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	engine := startEngine(t, EngineConfig{Dir: t.TempDir(), Binary: binary})
	if err := open(t, engine.URL()).Migrate(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestEngineSaysWhyItCanNotStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("broken library", func(t *testing.T) {
		_, err := StartEngine(t.Context(), EngineConfig{Dir: t.TempDir(), Lib: file})
		contains(t, err, file, "make engine")
	})
	t.Run("no library", func(t *testing.T) {
		t.Chdir(t.TempDir())
		t.Setenv("PATH", "")
		t.Setenv(EngineLibEnv, "")
		t.Setenv("COUNTERSIGN_CACHE", "")
		_, err := StartEngine(t.Context(), EngineConfig{Dir: t.TempDir()})
		contains(t, err, "make engine", "--clickhouse URL")
	})
	t.Run("named library missing", func(t *testing.T) {
		t.Setenv(EngineLibEnv, file+"2")
		_, err := FindLib("")
		contains(t, err, EngineLibEnv, file+"2")
		_, err = FindLib(file + "3")
		contains(t, err, "--engine-lib", file+"3")
	})
	t.Run("named binary missing", func(t *testing.T) {
		_, err := StartEngine(t.Context(), EngineConfig{Dir: t.TempDir(), Binary: file + "4"})
		contains(t, err, file+"4")
	})
	t.Run("directory", func(t *testing.T) {
		_, err := StartEngine(t.Context(), EngineConfig{Dir: filepath.Join(file, "below")})
		contains(t, err, "engine directory", file)
		contains(t, dirError("/data", fs.ErrPermission), "/data", "--data-dir")
	})
	t.Run("damaged store", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(storeDir(dir), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := StartEngine(t.Context(), EngineConfig{Dir: dir})
		contains(t, err, dir)
	})
}

func hashOf(i int) [32]byte {
	return sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(i)))
}

// rowsOf makes n rows of signed_hashes, those of hashOf(from) and so on.
func rowsOf(from, n int) *store.HashRows {
	r := &store.HashRows{}
	for i := range n {
		hash := hashOf(from + i)
		r.Hash = append(r.Hash, hash[:]...)
		r.Upload = append(r.Upload, uuid.UUID{1})
		r.Position = append(r.Position, uint32(from+i))
		r.Site = append(r.Site, "files.example.org")
		r.SignedAt = append(r.SignedAt, 1_790_000_000_123)
		r.Algorithm = append(r.Algorithm, "RSA-2048")
		r.Signature = append(r.Signature, bytes.Repeat(hash[:], 8))
		r.Certificate = append(r.Certificate, [32]byte{2})
	}
	return r
}
