package filelock

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrLocked is wrapped by the error about a file that another open file holds.
var ErrLocked = errors.New("locked by another process")

// ErrNoLocks is wrapped by the error about a file on a file system without locks. Network file systems often have none.
var ErrNoLocks = errors.New("this file system has no file locks, as some network file systems (NFS, SMB) have none: " +
	"choose a folder on a local disk")

// Try opens path, making it when it is missing, and locks it without waiting. The lock belongs to the returned file and
// to every process that inherits it: it ends when the last of them has closed the file or died.
func Try(path string) (*os.File, error) { return try(path, unix.Flock) }

func try(path string, flock func(fd, how int) error) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			err = ErrLocked
		case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
			err = fmt.Errorf("%w: %w", err, ErrNoLocks)
		}
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
}
