package results

// Rows of table uploads. The sink writes them too, later and always; ingest writes them early, so that a poll right
// after the answer finds its upload, on whichever machine the poll lands. Until a row is stored its upload is kept
// here, and polls that reach this process are answered from here. Inserts are batched by the load: one goroutine writes
// whatever came while it last wrote.

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"countersign/internal/pause"
	"countersign/internal/queue"
	"countersign/sink/store"
)

const (
	rowsPerInsert = 1000
	insertTimeout = 10 * time.Second
	lastInserts   = 2 * time.Second // for what is left when the server stops
)

// insertRetries says when a failed insert is tried again.
var insertRetries = pause.Backoff{First: 100 * time.Millisecond, Most: 5 * time.Second}

// recorder stores rows of accepted uploads. What bounds its queue is the admission of uploads (Config.MaxUnrecorded).
type recorder struct {
	insert func(context.Context, []store.Upload) error
	logger *slog.Logger
	queue  *queue.Queue[*unrecorded] // emptied by run; every item is in kept, too

	mu   sync.Mutex
	kept map[uuid.UUID]*unrecorded // guarded by mu
}

// unrecorded is an accepted upload whose row is not stored yet.
type unrecorded struct {
	row    store.Upload
	stored chan struct{} // closed once the row is stored
}

func newRecorder(insert func(context.Context, []store.Upload) error, logger *slog.Logger) *recorder {
	return &recorder{
		insert: insert, logger: logger, queue: queue.New[*unrecorded](), kept: make(map[uuid.UUID]*unrecorded),
	}
}

// size is how many uploads wait for their row.
func (r *recorder) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.kept)
}

// add has a row stored. The channel is closed once that has happened.
func (r *recorder) add(row store.Upload) <-chan struct{} {
	u := &unrecorded{row: row, stored: make(chan struct{})}
	r.mu.Lock()
	r.kept[row.ID] = u
	r.mu.Unlock()
	r.queue.Put(u)
	return u.stored
}

// get returns an upload whose row isn't stored yet.
func (r *recorder) get(id uuid.UUID) (store.Upload, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u, ok := r.kept[id]
	if !ok {
		return store.Upload{}, false
	}
	return u.row, true
}

// tellEvery is how often the operator is told that inserts go on failing.
const tellEvery = time.Minute

// run stores rows until ctx is done, then tries once more with those that are left.
func (r *recorder) run(ctx context.Context) {
	var told time.Time // when the operator was told last
	for failures := 0; ; {
		select {
		case <-r.queue.Ready():
		case <-ctx.Done():
			r.finish(context.WithoutCancel(ctx))
			return
		}
		batch := r.next()
		if len(batch) == 0 {
			continue
		}
		err := r.store(ctx, batch)
		if err == nil {
			failures = 0
			continue
		}
		r.queue.PutBack(batch...)
		again := insertRetries.After(failures)
		if failures++; failures == 1 || time.Since(told) >= tellEvery {
			told = time.Now()
			r.logger.Warn("uploads accepted, but their rows not stored yet: trying again",
				"uploads", len(batch), "in", again, "error", err)
		}
		_ = pause.For(ctx, again) // ended early, the loop sees that ctx is done
	}
}

// finish stores what is left, as long as that works.
func (r *recorder) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastInserts)
	defer cancel()
	for batch := r.next(); len(batch) > 0 && r.store(ctx, batch) == nil; batch = r.next() {
	}
}

// next dequeues the rows of one insert.
func (r *recorder) next() []*unrecorded {
	n := 0
	return r.queue.TakeWhile(nil, func(*unrecorded) bool { n++; return n <= rowsPerInsert })
}

func (r *recorder) store(ctx context.Context, batch []*unrecorded) error {
	ctx, cancel := context.WithTimeout(ctx, insertTimeout)
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
		close(u.stored)
	}
	return nil
}
