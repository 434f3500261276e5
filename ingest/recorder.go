package ingest

// Rows of table uploads. The sink writes them too, later and always: this one is there so that a poll right after the answer
// finds its upload, on whichever machine it lands. Until a row is stored, its upload is kept here, and polls that reach this
// process are answered from here. Inserts are batched naturally: one goroutine writes whatever came while it last wrote.

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"countersign/sink/store"
)

const (
	recordBatch   = 1000 // rows an insert
	recordTimeout = 10 * time.Second
	recordPause   = 100 * time.Millisecond // after a failed insert, doubled up to recordPauseMost
	recordMost    = 5 * time.Second
	recordLast    = 2 * time.Second // for what is left when the server stops
)

type recorder struct {
	insert func(context.Context, []store.Upload) error
	logger *slog.Logger
	max    int

	mu    sync.Mutex
	kept  map[uuid.UUID]*unrecorded // guarded by mu
	queue []*unrecorded             // guarded by mu; subset of kept, oldest first
	wake  chan struct{}             // capacity 1; never closed
}

// unrecorded is an accepted upload without its row.
type unrecorded struct {
	row  store.Upload
	done chan struct{} // closed once the row is stored
}

func newRecorder(insert func(context.Context, []store.Upload) error, logger *slog.Logger, max int) *recorder {
	return &recorder{insert: insert, logger: logger, max: max, kept: make(map[uuid.UUID]*unrecorded), wake: make(chan struct{}, 1)}
}

func (r *recorder) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.kept)
}

// full reports whether no further upload should be admitted. Those open already may exceed the limit by their number.
func (r *recorder) full() bool {
	return r.size() >= r.max
}

// add takes an accepted upload. The channel is closed once its row is stored.
func (r *recorder) add(row store.Upload) <-chan struct{} {
	u := &unrecorded{row: row, done: make(chan struct{})}
	r.mu.Lock()
	r.kept[row.ID] = u
	r.queue = append(r.queue, u)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return u.done
}

// get finds an upload whose row isn't stored yet.
func (r *recorder) get(id uuid.UUID) (store.Upload, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u, ok := r.kept[id]
	if !ok {
		return store.Upload{}, false
	}
	return u.row, true
}

// run stores rows until ctx is done, then tries once more with what is left.
func (r *recorder) run(ctx context.Context) {
	pause := recordPause
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordLast)
			defer cancel()
			for batch := r.take(); len(batch) > 0 && r.store(last, batch) == nil; batch = r.take() {
			}
			return
		}
		for batch := r.take(); len(batch) > 0; batch = r.take() {
			err := r.store(ctx, batch)
			if err == nil {
				pause = recordPause
				continue
			}
			r.logger.Warn("uploads accepted, but their rows not stored yet: trying again", "uploads", len(batch), "in", pause, "error", err)
			r.giveBack(batch)
			if !sleep(ctx, pause) {
				break
			}
			pause = min(2*pause, recordMost)
		}
	}
}

func (r *recorder) take() []*unrecorded {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.queue), recordBatch)
	batch := r.queue[:n:n]
	if r.queue = r.queue[n:]; len(r.queue) == 0 {
		r.queue = nil
	}
	return batch
}

func (r *recorder) giveBack(batch []*unrecorded) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(batch, r.queue...)
}

func (r *recorder) store(ctx context.Context, batch []*unrecorded) error {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	rows := make([]store.Upload, len(batch))
	for i, u := range batch {
		rows[i] = u.row
	}
	if err := r.insert(ctx, rows); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range batch {
		if r.kept[u.row.ID] == u { // the same upload may have been added again, by its key
			delete(r.kept, u.row.ID)
		}
		close(u.done)
	}
	return nil
}

// sleep waits for d, and reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
