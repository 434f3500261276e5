package embedded

// Room on the disk. Below MinFreeDisk nothing new is to be accepted (Room), while there still is room for what the
// stages write about what was accepted before.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"countersign/internal/pause"
)

const (
	roomPeriod = time.Second // between looks at the file system
	// fullAfterWrite is how long a write that failed for want of room counts, where the file system's figures don't
	// show why: a quota.
	fullAfterWrite = 5 * time.Second

	mostDefaultFree = 1 << 30 // the default of MinFreeDisk is this, or a fiftieth of the file system if that is less
	defaultFreePart = 50
)

// ErrDiskFull says that there is too little room on the log's disk to accept anything.
var ErrDiskFull = errors.New("disk full")

// room watches the file system of the data directory. It is safe for concurrent use.
type room struct {
	dir    string
	min    int64                                           // bytes; 0: the default; negative: any room will do
	statfs func(dir string) (free, total int64, err error) // in bytes
	clock  func() time.Time
	logger *slog.Logger

	mu     sync.Mutex
	full   error     // why there is no room; nil: there is; guarded by mu
	failed time.Time // when a write last failed for want of room; guarded by mu
	cause  error     // of that; guarded by mu
}

func newRoom(cfg Config) *room {
	return &room{dir: cfg.Dir, min: cfg.MinFreeDisk, statfs: statfs, clock: cfg.Clock, logger: cfg.Logger}
}

// statfs returns how much of a file system this user may still write, and its size.
func statfs(dir string) (free, total int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	return int64(s.Bavail) * s.Bsize, int64(s.Blocks) * s.Bsize, nil
}

// watch looks until ctx ends.
func (r *room) watch(ctx context.Context) {
	for pause.For(ctx, roomPeriod) == nil {
		r.look()
	}
}

// writeFailed notes that a write failed for want of room.
func (r *room) writeFailed(err error) {
	r.mu.Lock()
	r.failed, r.cause = r.clock(), err
	r.mu.Unlock()
	r.look()
}

// look compares the file system with what is needed, and tells the operator when that changes.
func (r *room) look() {
	free, total, err := r.statfs(r.dir)
	if err != nil {
		return // nothing is known; a disk that is broken shows when something is written
	}
	need := r.min
	if need == 0 {
		need = min(mostDefaultFree, total/defaultFreePart)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.full != nil
	r.full = r.reason(free, need, was)
	switch {
	case r.full != nil && !was:
		r.logger.Error("embedded broker: disk full, nothing new is accepted until there is room",
			"path", r.dir, "free", free, "needed", need, "error", r.full)
	case r.full == nil && was:
		r.logger.Info("embedded broker: the disk has room again", "path", r.dir, "free", free, "needed", need)
	}
}

// reason says why there is no room, or returns nil. A sixteenth more than needed ends a shortage, so that it doesn't
// end and begin with every file.
func (r *room) reason(free, need int64, was bool) error {
	if was {
		need += need / 16
	}
	if free < need {
		return fmt.Errorf("%w: %s has %d bytes free, and %d are needed (--min-free-disk)", ErrDiskFull, r.dir, free, need)
	}
	if !r.failed.IsZero() && r.clock().Sub(r.failed) < fullAfterWrite {
		return fmt.Errorf("%w: a write to %s failed: %w", ErrDiskFull, r.dir, r.cause)
	}
	return nil
}

// Room returns nil while there is room on the log's disk, and otherwise an ErrDiskFull that names path, free and needed
// bytes. It is cheap: the file system is looked at once a second.
func (b *Broker) Room() error {
	b.room.mu.Lock()
	defer b.room.mu.Unlock()
	return b.room.full
}
