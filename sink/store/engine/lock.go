//go:build unix

package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lockDir makes dir and takes its lock, waiting a while for a predecessor to end. The lock belongs to the open file: it is held
// until this process and the child that inherits the file have closed it or died.
func lockDir(ctx context.Context, dir string) (*os.File, error) {
	if err := os.MkdirAll(storeDir(dir), 0o700); err != nil {
		return nil, dirError(dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "engine.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, dirError(dir, err)
	}
	deadline := time.Now().Add(engineLockTimeout)
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return nil, errors.Join(dirError(dir, fmt.Errorf("lock: %w", err)), f.Close())
		case time.Now().After(deadline):
			return nil, errors.Join(fmt.Errorf("engine directory %s is in use by another countersign: stop that one, or choose another --data-dir", dir), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("engine directory %s is in use by another countersign: %w", dir, ctx.Err()), f.Close())
		case <-time.After(wait):
		}
	}
}
