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
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"countersign/internal/testseed"
	"countersign/sink/store"
)

// parentArg is the first argument under which the test binary plays a process that owns an engine: it starts one on the
// directory that follows, and inserts rowsOfInsert rows at a time, telling of each insert that returned, until it is
// killed.
const parentArg = "engine-parent"

const rowsOfInsert = 500

func parentMain(args []string) int {
	err := func() error {
		ctx := context.Background()
		engine, err := Start(ctx, granted(Config{Dir: args[0]}))
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
		for n := 0; ; n += rowsOfInsert {
			if err := insertHashes(ctx, db, rowsOf(n, rowsOfInsert)); err != nil {
				return err
			}
			fmt.Println("stored", n+rowsOfInsert)
		}
	}()
	fmt.Println("failed", err)
	return 1
}

// I1 for the store: what an insert has confirmed outlives the death of every process, and the directory is usable again
// at once.
func TestConfirmedRowsSurviveKills(t *testing.T) {
	random := testseed.Rand(t)
	for _, victims := range []string{"parent", "parent and engine"} {
		t.Run(victims, func(t *testing.T) {
			dir := t.TempDir()
			atLeast := rowsOfInsert * (1 + random.IntN(20))
			within := time.Duration(random.IntN(30)) * time.Millisecond // of the next insert, which takes some 10 ms
			stored := killedWhileInserting(t, dir, atLeast, within, victims == "parent and engine")
			engine := startEngine(t, Config{Dir: dir})
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

// killedWhileInserting lets a parent insert until it has confirmed at least so many rows, kills it, or it and the
// engine, a moment later, and returns how many rows it had confirmed. It returns when the engine is gone.
func killedWhileInserting(t *testing.T, dir string, atLeast int, moment time.Duration, engineToo bool) (stored int) {
	t.Helper()
	parent := exec.Command(os.Args[0], parentArg, dir)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = parent.Wait() }() // reports the kill
	defer parent.Process.Kill()
	pid, killed := 0, false
	for lines := bufio.NewScanner(out); lines.Scan(); { // what the parent manages to say until its end counts, too
		switch word, rest, _ := strings.Cut(lines.Text(), " "); word {
		case "engine":
			pid = number(t, rest)
		case "stored":
			stored = number(t, rest)
		default:
			if !killed || !engineToo {
				t.Fatal(lines.Text())
			}
		}
		if stored >= atLeast && !killed {
			killed = true
			time.Sleep(moment)
			if engineToo {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			_ = parent.Process.Kill()
		}
	}
	if !killed || pid == 0 {
		t.Fatalf("the parent ended after %d of %d rows, before anyone killed it", stored, atLeast)
	}
	await(t, "the engine's end after its parent's", func() bool { return !alive(pid) })
	return stored
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// await waits until cond, for a minute at most.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("five minutes went by without %s", what)
		}
	}
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

// granted gives the engine's users what they have in the service.
func granted(cfg Config) Config {
	cfg.Grants, cfg.AnalystGrants = store.ServiceGrants("default"), store.AnalystGrants("default")
	return cfg
}

func startEngine(t *testing.T, cfg Config) *Engine {
	t.Helper()
	engine, err := Start(t.Context(), granted(cfg))
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
	engine := startEngine(t, Config{Dir: t.TempDir()})
	db := open(t, engine.URL())
	if err := insertHashes(t.Context(), db, rowsOf(0, 1)); err != nil {
		t.Fatal(err)
	}
	was := childOf(engine)
	engine.kill()
	await(t, "another child", func() bool { return childOf(engine) != was })
	await(t, "an answer of the new child", func() bool {
		owners, err := db.Hashes(t.Context(), [][32]byte{hashOf(0)})
		found := len(owners) == 1
		if err == nil && !found {
			t.Fatal("a stored row is gone")
		}
		if err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Error("meanwhile:", err)
		}
		return err == nil
	})
	select {
	case <-engine.Done():
		t.Error("Done, though it was replaced")
	default:
	}
}

func childOf(e *Engine) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.child.Pid
}

func TestEngineCloseIsOrderlyAndFreesTheDirectory(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		engine, err := Start(t.Context(), Config{Dir: dir})
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
	startEngine(t, Config{Dir: dir})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := Start(ctx, Config{Dir: dir})
	contains(t, err, dir, "in use by another countersign")
}

// Whoever got the port meanwhile isn't taken for the engine; Start tries another port then.
func TestTakenPortIsNoticed(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e, err := prepare(t.Context(), Config{Dir: t.TempDir(), SharedNetwork: true})
	if err != nil {
		t.Fatal(err)
	}
	defer e.release()
	e.port = l.Addr().(*net.TCPAddr).Port
	if err := e.start(t.Context()); !errors.Is(err, errPortTaken) {
		t.Error(err)
	}
}

// binaryArg is the first argument under which the test binary is a clickhouse binary: the library's path follows, and
// the arguments of `clickhouse local`.
const binaryArg = "engine-binary"

// standIn makes a stand-in for a clickhouse binary: it is called as `clickhouse local ...` and runs the library with
// those arguments. The library lies in dir, because the engine can't open other folders.
func standIn(t *testing.T, dir string) string {
	t.Helper()
	lib, err := FindLib("")
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, libName)
	if out, err := exec.Command("cp", "--reflink=auto", lib, copied).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = local ] || exit 1\nshift\nexec %q %s %q \"$@\"\n", os.Args[0], binaryArg, copied)
	path := filepath.Join(t.TempDir(), "clickhouse")
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEngineTakesAClickhouseBinary(t *testing.T) {
	dir := t.TempDir()
	engine := startEngine(t, Config{Dir: dir, Binary: standIn(t, dir)})
	if err := open(t, engine.URL()).Migrate(t.Context()); err != nil {
		t.Error(err)
	}
}

// useOnce stores a row and reads it. A store gives up waiting for ClickHouse after a minute, which a child may take to
// start on a busy machine, so useOnce asks a few times.
func useOnce(ctx context.Context, e *Engine) error {
	db, err := store.Open(ctx, store.Config{URL: e.URL()})
	if err != nil {
		return err
	}
	defer db.Close()
	for range 5 {
		if err = errors.Join(db.Migrate(ctx), insertHashes(ctx, db, rowsOf(0, 1))); !errors.Is(err, store.ErrUnavailable) {
			break
		}
	}
	if err != nil {
		return err
	}
	if found, err := db.Hashes(ctx, [][32]byte{hashOf(0)}); err != nil || len(found) == 0 {
		return fmt.Errorf("the row: %v, %w", found, err)
	}
	return nil
}

// A binary ends with the process that runs it, and both are replaced.
func TestBinaryIsReplacedWhenItsParentDies(t *testing.T) {
	dir := t.TempDir()
	e := startEngine(t, Config{Dir: dir, Binary: standIn(t, dir)})
	if err := useOnce(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	was := childOf(e)
	binary, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", was, was))
	if err != nil {
		t.Skip("this kernel doesn't tell a process's children: ", err)
	}
	e.kill()
	await(t, "the binary's end", func() bool { return !alive(number(t, strings.TrimSpace(string(binary)))) })
	await(t, "another child", func() bool { return childOf(e) != was })
	if err := useOnce(t.Context(), e); err != nil {
		t.Error(err)
	}
}

// However often the engine crashes: a start that is good counts for nothing.
func TestCrashesDoNotEndTheEngine(t *testing.T) {
	e := startEngine(t, Config{Dir: t.TempDir()})
	for range 7 {
		if err := useOnce(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		was := childOf(e)
		e.kill()
		await(t, "another child", func() bool { return childOf(e) != was })
	}
	if err := useOnce(t.Context(), e); err != nil {
		t.Error(err)
	}
}

// Starts that fail in a row end the engine.
func TestFailedStartsEndTheEngine(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Config{Dir: t.TempDir()})
	if err := os.WriteFile(configFile(e.cfg.Dir), []byte("no configuration"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.kill()
	select {
	case <-e.Done():
		if e.Err() == nil {
			t.Error("it does not say why")
		}
	case <-time.After(5 * time.Minute):
		t.Error("it is started again and again")
	}
}

// The last login counts, and the engine lives, when those who ask are killed in the middle of an answer.
func TestAKilledClientHarmsNothing(t *testing.T) {
	e := startEngine(t, Config{Dir: t.TempDir()})
	if err := useOnce(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	was := childOf(e)
	for range 5 {
		client := exec.Command(os.Args[0], clientArg, e.AnalystURL())
		out, err := client.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(line, err)
		}
		_ = client.Process.Kill()
		_ = client.Wait() // reports the kill
	}
	if err := useOnce(t.Context(), e); err != nil {
		t.Error(err)
	}
	if childOf(e) != was {
		t.Error("the engine was replaced")
	}
}

// An engine that is stopped is told from one that is busy, and goes on where it was.
func TestAStoppedEngineIsNoticed(t *testing.T) {
	e := startEngine(t, Config{Dir: t.TempDir()})
	db := open(t, e.URL())
	was := childOf(e)
	if err := syscall.Kill(was, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(was, syscall.SIGCONT)
	err := db.Check(t.Context())
	if !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
	contains(t, err, "has said nothing for")
	if err := syscall.Kill(was, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	await(t, "an answer", func() bool { return db.Check(t.Context()) == nil })
	if childOf(e) != was {
		t.Error("the engine was replaced")
	}
}

// clientArg is the first argument under which the test binary asks the engine at a URL for very many rows, and prints
// them.
const clientArg = "engine-client"

func clientMain(url string) int {
	db, err := store.Open(context.Background(), store.Config{URL: url, ReadOnly: true})
	if err == nil {
		_, err = db.Print(context.Background(), os.Stdout, "SELECT number FROM numbers(9000000)")
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func TestEngineSaysWhyItCanNotStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("broken library", func(t *testing.T) {
		_, err := Start(t.Context(), Config{Dir: t.TempDir(), Lib: file})
		contains(t, err, file, "make engine")
	})
	t.Run("no library", func(t *testing.T) {
		t.Chdir(t.TempDir())
		t.Setenv("PATH", "")
		t.Setenv(libEnv, "")
		t.Setenv("COUNTERSIGN_CACHE", "")
		_, err := Start(t.Context(), Config{Dir: t.TempDir()})
		contains(t, err, "make engine", "--clickhouse URL")
	})
	t.Run("named library missing", func(t *testing.T) {
		t.Setenv(libEnv, file+"2")
		_, err := FindLib("")
		contains(t, err, libEnv, file+"2")
		_, err = FindLib(file + "3")
		contains(t, err, "--engine-lib", file+"3")
	})
	t.Run("named binary missing", func(t *testing.T) {
		_, err := Start(t.Context(), Config{Dir: t.TempDir(), Binary: file + "4"})
		contains(t, err, file+"4")
	})
	t.Run("directory", func(t *testing.T) {
		_, err := Start(t.Context(), Config{Dir: filepath.Join(file, "below")})
		contains(t, err, "engine directory", file)
		contains(t, dirError("/data", fs.ErrPermission), "/data", "--data-dir")
	})
	t.Run("damaged store", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(storeDir(dir), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Start(t.Context(), Config{Dir: dir})
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
		r.Upper = append(r.Upper, i%3 == 1)
	}
	return r
}

// insertHashes stores rows as the sink does.
func insertHashes(ctx context.Context, db *store.DB, rows *store.HashRows) error {
	if err := db.InsertSignatures(ctx, rows); err != nil {
		return err
	}
	return db.InsertOwners(ctx, rows)
}
