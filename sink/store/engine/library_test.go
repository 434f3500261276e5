package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A library is loaded only with the digest that was asked for; the digest is remembered for the file that has it, and for
// no other.
func TestLibraryMustHaveItsDigest(t *testing.T) {
	dir := t.TempDir()
	lib, memory := filepath.Join(dir, "lib.so"), filepath.Join(dir, "engine.lib")
	write := func(text string) (digest string) {
		t.Helper()
		if err := os.WriteFile(lib, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:])
	}
	load := func(want string) error {
		f, err := openLibrary(lib, want, dir)
		if err == nil {
			f.Close()
		}
		return err
	}
	good := write("good")
	if err := load(good); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(memory); !errors.Is(err, os.ErrNotExist) {
		t.Error("a file that may change within a tick of the clock is remembered")
	}
	await(t, "a remembered digest", func() bool {
		time.Sleep(settled / 4)
		if err := load(good); err != nil {
			t.Fatal(err)
		}
		_, err := os.Stat(memory)
		return err == nil
	})
	was, err := os.Stat(lib)
	if err != nil {
		t.Fatal(err)
	}
	write("evil")
	if err := os.Chtimes(lib, was.ModTime(), was.ModTime()); err != nil {
		t.Fatal(err)
	}
	var other *DigestError
	if err := load(good); !errors.As(err, &other) || other.Want != good {
		t.Errorf("a file of the same size and time: %v", err)
	}
	contains(t, load(good), lib, good, "make engine", "--engine-lib-sha256")
	if err := load(write("another one")); err != nil {
		t.Error("a file whose digest the operator names:", err)
	}
}

// The library comes from where the installation puts it, whatever lies in the folders above the working directory.
func TestWorkingDirectoryHasNoSay(t *testing.T) {
	dir := t.TempDir()
	planted := filepath.Join(dir, ".cache", "engine", Version, libName)
	if err := os.MkdirAll(filepath.Dir(planted), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(planted, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	below := filepath.Join(dir, "below")
	if err := os.Mkdir(below, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(below)
	t.Setenv(libEnv, "")
	t.Setenv("COUNTERSIGN_CACHE", "")
	if lib, err := FindLib(""); !errors.Is(err, errNoEngine) {
		t.Error(lib, err)
	}
	t.Setenv("COUNTERSIGN_CACHE", "../.cache")
	if lib, err := FindLib(""); lib != planted {
		t.Error(lib, err)
	}
}
