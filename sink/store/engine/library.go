package engine

// The library is loaded only when it is the one that scripts/fetch-engine.sh unpacks: its code runs with all rights of
// the service. Its digest takes half a second. The engine's directory, where nobody else can write, remembers which
// file had the digest; the file's identity changes with anything that is done to it.

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Version is the version of the npm package that scripts/fetch-engine.sh fetches the library from.
const Version = "26.7.3-stable.1"

// LibDigest is the SHA-256 of that version's libchdb.so, in hex.
const LibDigest = "36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5"

// DigestError says that a library isn't the one that was asked for, and wasn't loaded.
type DigestError struct {
	Path, Digest, Want string
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("%s has the SHA-256 %s and should have %s: it is damaged or another version, and was not loaded; "+
		"fetch it again with `make engine`, or, if you trust this file, name its digest with --engine-lib-sha256", e.Path, e.Digest, e.Want)
}

// identity is a file as it was when its digest was taken. Times are nanoseconds since 1970.
type identity struct {
	Device, Inode uint64
	Size          int64
	Modified      int64
	Changed       int64 // of the file or what is known of it; no program can set it
	Digest        string
}

// settled is how old the last change of a file must be when its digest is remembered: two changes within one tick of
// the file system's clock look like one.
const settled = 2 * time.Second

// openLibrary opens the library at path if its digest is want. dir remembers that. What is loaded must be the open
// file: whatever is at path later may be another one.
func openLibrary(path, want, dir string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("engine library: %w", err)
	}
	if err := checkLibrary(f, want, filepath.Join(dir, "engine.lib")); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func checkLibrary(f *os.File, want, memory string) error {
	is, err := identify(f)
	if err != nil {
		return fmt.Errorf("engine library: %w", err)
	}
	is.Digest = want
	text, err := json.Marshal(is)
	if err != nil {
		return err
	}
	if known, err := os.ReadFile(memory); err == nil && bytes.Equal(known, text) {
		return nil
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return fmt.Errorf("engine library: read %s: %w", f.Name(), err)
	}
	if digest := hex.EncodeToString(hash.Sum(nil)); digest != want {
		return &DigestError{Path: f.Name(), Digest: digest, Want: want}
	}
	after, err := identify(f)
	if err != nil {
		return fmt.Errorf("engine library: %w", err)
	}
	after.Digest = want
	if after != is {
		return fmt.Errorf("engine library: %s was changed while it was read: try again", f.Name())
	}
	if time.Since(time.Unix(0, is.Changed)) < settled {
		return nil
	}
	return writePrivate(filepath.Dir(memory), memory, string(text))
}

func identify(f *os.File) (identity, error) {
	info, err := f.Stat()
	if err != nil {
		return identity{}, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}, fmt.Errorf("%s has no inode", f.Name())
	}
	return identity{
		Device: stat.Dev, Inode: stat.Ino, Size: stat.Size,
		Modified: info.ModTime().UnixNano(), Changed: changed(stat),
	}, nil
}
