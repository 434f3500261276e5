package filelock

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOneHolderAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Try(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Try(path); !errors.Is(err, ErrLocked) {
		t.Errorf("a second holder got %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Try(path)
	if err != nil {
		t.Fatalf("after the first holder: %v", err)
	}
	second.Close()
}

func TestMissingFolderIsNamed(t *testing.T) {
	_, err := Try(filepath.Join(t.TempDir(), "missing", "lock"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// A file system without locks isn't one where somebody else has the lock: the error says what to use instead.
func TestFileSystemsWithoutLocks(t *testing.T) {
	for _, errno := range []syscall.Errno{unix.ENOLCK, unix.EOPNOTSUPP, unix.ENOSYS, unix.EINVAL} {
		_, err := try(filepath.Join(t.TempDir(), "lock"), func(int, int) error { return errno })
		if !errors.Is(err, ErrNoLocks) || !errors.Is(err, errno) || errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "local disk") {
			t.Errorf("%v: %v", errno, err)
		}
	}
}
