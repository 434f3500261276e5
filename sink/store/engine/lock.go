package engine

// One directory serves one engine: the lock on a file in it.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"countersign/internal/filelock"
	"countersign/internal/pause"
	"countersign/internal/startup"
)

const lockTimeout = 30 * time.Second // how long a predecessor may take to end

// lockDir makes dir and takes its lock, waiting a while for a predecessor to end. The lock is held until this process
// and the child, which inherits the file, have closed it or died. A directory that others may enter is closed to them.
func lockDir(ctx context.Context, dir string, logger *slog.Logger) (*os.File, error) {
	if err := os.MkdirAll(storeDir(dir), 0o700); err != nil {
		return nil, dirError(dir, err)
	}
	for _, path := range []string{dir, storeDir(dir)} {
		if err := tighten(path, logger); err != nil {
			return nil, dirError(dir, err)
		}
	}
	var f *os.File
	pauses := pause.Backoff{First: 5 * time.Millisecond, Most: 200 * time.Millisecond}
	err := startup.Wait{
		For: "another countersign to leave " + dir, AtMost: lockTimeout, Logger: logger,
		Passing: func(err error) bool { return errors.Is(err, filelock.ErrLocked) },
		Pause:   func(ctx context.Context, n int) error { return pause.For(ctx, pauses.After(n)) },
	}.Do(ctx, func(context.Context) (err error) {
		f, err = filelock.Try(filepath.Join(dir, "engine.lock"))
		return err
	})
	switch {
	case err == nil:
		return f, nil
	case !errors.Is(err, filelock.ErrLocked):
		return nil, dirError(dir, err)
	}
	return nil, fmt.Errorf("engine directory %s is in use by another countersign: "+
		"stop that one, or choose another --data-dir: waited up to %v for it to end: %w", dir, lockTimeout, cmp.Or(context.Cause(ctx), err))
}

// Touch writes the time of a file in the engine's directory. It fails where the disk takes no writes any more, which
// ClickHouse itself notices only when it has something to write.
func (e *Engine) Touch() error {
	if err := os.Chtimes(e.lock.Name(), time.Time{}, time.Now()); err != nil {
		return fmt.Errorf("the embedded ClickHouse's disk takes no writes: %w; check the disk and restart", err)
	}
	return nil
}

// tighten closes a directory of ours to other users, and says so if it was open.
func tighten(dir string, logger *slog.Logger) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	logger.Info("closed the engine's directory to other users", "dir", dir, "mode", fmt.Sprintf("%#o", info.Mode().Perm()), "now", "0700")
	return nil
}
