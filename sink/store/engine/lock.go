package engine

// One directory serves one engine: the lock on a file in it.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"countersign/internal/filelock"
	"countersign/internal/pause"
)

const lockTimeout = 30 * time.Second // how long a predecessor may take to end

// lockDir makes dir and takes its lock, waiting a while for a predecessor to end. The lock is held until this process
// and the child, which inherits the file, have closed it or died.
func lockDir(ctx context.Context, dir string) (*os.File, error) {
	if err := os.MkdirAll(storeDir(dir), 0o700); err != nil {
		return nil, dirError(dir, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lockTimeout, fmt.Errorf("waited %v for it to end", lockTimeout))
	defer cancel()
	wait := pause.Backoff{First: 5 * time.Millisecond, Most: 200 * time.Millisecond}
	for n := 0; ; n++ {
		f, err := filelock.Try(filepath.Join(dir, "engine.lock"))
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, filelock.ErrLocked) {
			return nil, dirError(dir, err)
		}
		if pause.For(ctx, wait.After(n)) != nil {
			return nil, fmt.Errorf("engine directory %s is in use by another countersign: "+
				"stop that one, or choose another --data-dir: %w", dir, context.Cause(ctx))
		}
	}
}
