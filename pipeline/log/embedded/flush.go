package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Durability of the embedded broker. kfake has written every acknowledged batch to its segment file, so a flush is an fsync of
// each segment file that grew since the last one, and of directories where files appeared. Index files are not needed: they
// hold transaction state, which we don't use. Neither is groups.log: an older commit means handling records again (I5), and
// clampCommits sees to newer ones.
//
// Which files grew is found by asking: one fstat a partition, since a segment below segmentBytes has no successor. Callers that
// arrive during a round share the next one.
//
// The files are synced at the same time, so that ext4 commits its journal once for all: with 24 files of 500 new bytes a round took
// 4 ms, one after the other 15 ms.
//
// Rejected: kfake's SyncWrites (an fsync a batch: 58 MB/s instead of 383); syncfs (one call, no faster, 2.5 ms in the case above and
// 15 instead of 10 with 300 KB each, and it waits for what everybody has dirty on the file system, a database's merges
// included); kfake's request hooks to learn what is dirty (they may run before an append and be overtaken by a flush).

// maxSyncs bounds the threads that a round takes.
const maxSyncs = 32

// cachedSegments is how many full segments of a partition stay in the page cache.
const cachedSegments = 3

// flusher runs rounds, one at a time.
type flusher struct {
	dir   string
	fsync func(*os.File) error
	drop  func(path string) error // takes a file out of the page cache

	mu     sync.Mutex
	next   *round         // the round that new callers join; guarded by mu
	busy   bool           // a goroutine runs rounds; guarded by mu
	closed bool           // guarded by mu
	wg     sync.WaitGroup // that goroutine

	// Owned by whoever runs a round.
	broken error // the first failed fsync
	logs   map[string]*partitionLog
	root   bool // the top directories were synced
}

type round struct {
	done chan struct{}
	err  error // valid after done
}

// partitionLog is what is known to be on disk of one partition.
type partitionLog struct {
	active *os.File // the newest segment
	synced state    // what of it is on disk
	forgot int64    // segments that begin below it were taken out of the page cache
}

// state tells whether a file was written to. The time is for a write that failed half way, was cut off and written again.
type state struct {
	size     int64
	modified time.Time
}

func newFlusher(dir string) *flusher {
	return &flusher{dir: dir, fsync: (*os.File).Sync, drop: dropCached, logs: map[string]*partitionLog{}}
}

// Flush waits for a round that begins after the call.
func (f *flusher) Flush(ctx context.Context) error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return fmt.Errorf("embedded broker: %w", ErrClosed)
	}
	r := f.next
	if r == nil {
		r = &round{done: make(chan struct{})}
		f.next = r
	}
	if !f.busy {
		f.busy = true
		f.wg.Go(f.rounds)
	}
	f.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rounds runs until nobody waits.
func (f *flusher) rounds() {
	for {
		f.mu.Lock()
		r := f.next
		f.next = nil
		if r == nil {
			f.busy = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		if f.broken == nil {
			f.broken = f.sync()
		}
		if f.broken != nil {
			r.err = fmt.Errorf("embedded broker: write %s to disk: %w; check the disk and restart", f.dir, f.broken)
		}
		close(r.done)
	}
}

// close waits for rounds in progress, and runs a last one over the files as the stopped broker left them.
func (f *flusher) close() error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.wg.Wait()
	err := f.broken
	if err == nil {
		err = errors.Join(f.sync(), f.syncIfThere(filepath.Join(f.dir, "groups.log")), f.syncPath(f.dir))
	}
	for _, l := range f.logs {
		if l.active != nil {
			l.active.Close()
		}
	}
	return err
}

// sync is one round.
func (f *flusher) sync() error {
	if !f.root {
		if err := f.syncPath(f.dir); err != nil {
			return err
		}
	}
	top := filepath.Join(f.dir, partitionsDir)
	names, err := readNames(top)
	if errors.Is(err, os.ErrNotExist) {
		return nil // nothing was ever produced
	}
	if err != nil {
		return err
	}
	f.root = true
	var (
		grown    []*partitionLog
		newNames bool
	)
	for _, name := range names {
		l := f.logs[name]
		if l == nil {
			l, newNames = &partitionLog{}, true
			f.logs[name] = l
		}
		changed, err := f.catchUp(l, filepath.Join(top, name))
		if err != nil {
			return err
		}
		if changed {
			grown = append(grown, l)
		}
	}
	if newNames {
		if err := errors.Join(f.syncPath(top), f.syncPath(f.dir)); err != nil {
			return err
		}
	}
	return f.syncAll(grown)
}

// catchUp makes active the partition's newest segment, with the older ones synced, and reports whether it has grown.
func (f *flusher) catchUp(l *partitionLog, dir string) (grown bool, err error) {
	if l.active != nil {
		now, err := stateOf(l.active)
		if err != nil {
			return false, err
		}
		if now.size < segmentBytes {
			return now != l.synced, nil
		}
	}
	segments, err := segmentsIn(dir)
	if err != nil || len(segments) == 0 {
		return false, err
	}
	newest := segments[len(segments)-1]
	if l.active != nil && l.active.Name() == newest.path {
		now, err := stateOf(l.active)
		return now != l.synced, err
	}
	return true, f.roll(l, dir, segments)
}

// roll syncs the directory and every segment from the active one up to the newest, which becomes active with nothing known of it.
func (f *flusher) roll(l *partitionLog, dir string, segments []segment) error {
	if err := f.syncPath(dir); err != nil {
		return err
	}
	from := 0
	if l.active != nil {
		for i, s := range segments {
			if s.path == l.active.Name() {
				from = i
			}
		}
	}
	last := len(segments) - 1
	for _, s := range segments[from:last] {
		if err := f.syncIfThere(s.path); err != nil {
			return err
		}
	}
	f.forget(l, segments)
	newest, err := os.Open(segments[last].path)
	if err != nil {
		return err
	}
	if l.active != nil {
		l.active.Close()
	}
	l.active, l.synced = newest, state{}
	return nil
}

// forget takes segments that have been read, if all is well, out of the page cache: a day of log would push out what the database reads, and
// memory that is used again costs less than memory that is new. A reader that is further behind reads the disk. It's no matter if it fails.
func (f *flusher) forget(l *partitionLog, segments []segment) {
	for _, s := range segments[:max(0, len(segments)-1-cachedSegments)] {
		if s.base >= l.forgot {
			_ = f.drop(s.path)
			l.forgot = s.base + 1
		}
	}
}

// syncAll syncs the active segments, at most maxSyncs at once.
func (f *flusher) syncAll(logs []*partitionLog) error {
	errs := make([]error, len(logs))
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxSyncs)
	for i, l := range logs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			before, err := stateOf(l.active) // what is appended from here on is the next round's
			if err == nil {
				err = f.fsync(l.active)
			}
			if err == nil {
				l.synced = before
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func stateOf(f *os.File) (state, error) {
	info, err := f.Stat()
	if err != nil {
		return state{}, err
	}
	return state{info.Size(), info.ModTime()}, nil
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func (f *flusher) syncPath(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return f.fsync(file)
}

// syncIfThere is syncPath for a file that retention may have deleted.
func (f *flusher) syncIfThere(path string) error {
	err := f.syncPath(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
