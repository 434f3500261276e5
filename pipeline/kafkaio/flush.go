package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Durability of the embedded broker. kfake has written every acknowledged batch to its segment file, so a flush is an fsync of
// each segment file that grew since the last one, and of directories where files appeared. Index files are not needed: they
// hold transaction state, which we don't use. Neither is groups.log: an older commit means handling records again (I5), and
// clampCommits sees to newer ones.
//
// Which files grew is found by asking: one fstat a partition, since a segment below segmentBytes has no successor. Callers that
// arrive during a round share the next one.
//
// Rejected: kfake's SyncWrites (an fsync a batch: 58 MB/s instead of 383); syncfs (one call, but it writes what everybody has
// dirty on the file system, the database's merges included); kfake's request hooks to learn what is dirty (they may run before
// an append and be overtaken by a flush).

// flusher runs rounds, one at a time.
type flusher struct {
	dir string

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
	synced int64    // its bytes that are on disk
}

func newFlusher(dir string) *flusher {
	return &flusher{dir: dir, logs: map[string]*partitionLog{}}
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
		err = errors.Join(f.sync(), syncPath(f.dir), syncIfThere(filepath.Join(f.dir, "groups.log")))
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
		if err := syncPath(f.dir); err != nil {
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
		changed, err := l.catchUp(filepath.Join(top, name))
		if err != nil {
			return err
		}
		if changed {
			grown = append(grown, l)
		}
	}
	if newNames {
		if err := errors.Join(syncPath(top), syncPath(f.dir)); err != nil {
			return err
		}
	}
	return syncAll(grown)
}

// catchUp makes active the partition's newest segment, with the older ones synced, and reports whether it has grown.
func (l *partitionLog) catchUp(dir string) (grown bool, err error) {
	if l.active != nil {
		size, err := sizeOf(l.active)
		if err != nil {
			return false, err
		}
		if size < segmentBytes {
			return size != l.synced, nil
		}
	}
	segments, err := segmentsIn(dir)
	if err != nil || len(segments) == 0 {
		return false, err
	}
	newest := segments[len(segments)-1]
	if l.active != nil && l.active.Name() == newest.path {
		size, err := sizeOf(l.active)
		return size != l.synced, err
	}
	return true, l.roll(dir, segments)
}

// roll syncs the directory and every segment from the active one up to the newest, which becomes active with nothing known of it.
func (l *partitionLog) roll(dir string, segments []segment) error {
	if err := syncPath(dir); err != nil {
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
		if err := syncIfThere(s.path); err != nil {
			return err
		}
	}
	f, err := os.Open(segments[last].path)
	if err != nil {
		return err
	}
	if l.active != nil {
		l.active.Close()
	}
	l.active, l.synced = f, -1
	return nil
}

// syncAll syncs the active segments, several at once so that the file system can write its journal for all of them together.
func syncAll(logs []*partitionLog) error {
	errs := make([]error, len(logs))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i, l := range logs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			size, err := sizeOf(l.active) // before: what is appended meanwhile is the next round's
			if err == nil {
				err = l.active.Sync()
			}
			if err == nil {
				l.synced = size
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func sizeOf(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// syncIfThere is syncPath for a file that retention may have deleted.
func syncIfThere(path string) error {
	err := syncPath(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func isSegment(name string) bool { return strings.HasSuffix(name, segmentSuffix) }
