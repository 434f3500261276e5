//go:build unix

package embedded

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockDir takes the data directory for this process until the file is closed.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(lockPath(dir), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, fmt.Errorf("embedded broker: data directory %s is in use by another process: stop that one, or give this one a directory of its own", dir)
		}
		return nil, fmt.Errorf("embedded broker: lock data directory %s: %w", dir, err)
	}
	return f, nil
}
