package ingest

// Waiting for results: synchronous calls take their events from the hub, and ask the store when none come.

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"countersign/ingest/problem"
	"countersign/pipeline/record"
	"countersign/sink/store"
)

// maxAskers is how many synchronous calls may ask the store at a time because their events are late: were all of them to, they would
// slow down what they wait for.
const maxAskers = 4

// waiter waits for results of uploads.
type waiter struct {
	cfg    *Config
	hub    *hub
	askers chan struct{} // capacity maxAskers
	// following reports whether events arrive at all.
	following func() bool
}

// wait returns what became of an upload. ctx's end makes it a Problem that tells how to go on asking. soon says that results may have been there
// before the watch was.
func (w *waiter) wait(ctx context.Context, watch *watch, pairs int, soon bool) (outcome, error) {
	first := w.cfg.SyncPoll
	if soon {
		first = 0
	} else if !w.following() {
		first = w.cfg.SyncPoll / 4
	}
	timer := time.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-watch.complete:
			return watch.result, nil
		case <-ctx.Done():
			return outcome{}, w.late(ctx, watch.id)
		case <-timer.C:
		}
		if result, ok := w.ask(ctx, watch.id, pairs); ok {
			return result, nil
		}
		timer.Reset(w.cfg.SyncPoll)
	}
}

// ask asks the store once, if its turn comes right now.
func (w *waiter) ask(ctx context.Context, id uuid.UUID, pairs int) (outcome, bool) {
	select {
	case w.askers <- struct{}{}:
		defer func() { <-w.askers }()
	default:
		return outcome{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, w.cfg.StoreTimeout)
	defer cancel()
	progress, err := w.cfg.Store.Progress(ctx, id)
	if err != nil {
		if ctx.Err() == nil {
			w.cfg.Logger.Warn("could not ask for a synchronous call's result", "upload", id, "error", err)
		}
		return outcome{}, false
	}
	s := statusOf(progress, record.Batches(uint64(pairs)))
	return outcome{added: s.added, duplicates: s.duplicates, badSignatures: s.badSignatures, errs: s.errs}, s.waiting == 0
}

// details reads the lists of all batches of a finished upload, trying until ctx ends: the event said that they are stored, so
// the store has them or is away.
func (w *waiter) details(ctx context.Context, id uuid.UUID, pairs int) ([]store.BatchResult, error) {
	results := make([]store.BatchResult, 0, record.Batches(uint64(pairs)))
	for len(results) < cap(results) {
		r, ok, err := w.cfg.Store.Batch(ctx, id, uint32(len(results)+1))
		if err == nil && ok && r.Done {
			results = append(results, r)
			continue
		}
		if err != nil && ctx.Err() == nil {
			w.cfg.Logger.Warn("could not read a synchronous call's result: trying again", "upload", id, "error", err)
		}
		if !sleep(ctx, w.cfg.SyncPoll/4) {
			return nil, w.late(ctx, id)
		}
	}
	return results, nil
}

func (w *waiter) late(ctx context.Context, id uuid.UUID) *problem.Problem {
	cause := context.Cause(ctx)
	if errors.Is(cause, errStopping) {
		return problem.NotFinishedByStop(id, cause)
	}
	return problem.NotFinished(id, w.cfg.SyncTimeout, cause)
}

// statusOf sums up the batches from the first one to the last before one that isn't done: doneBatch is a prefix (contract).
// progress holds the batches with any result, by number; total is how many the upload has.
func statusOf(progress []store.BatchProgress, total int) status {
	s := status{waiting: total}
	for _, b := range progress {
		if !b.Done || int(b.Batch) != s.done+1 || s.done == total {
			break
		}
		s.add(b.Added, b.Duplicates, b.BadSignatures, b.Errors)
	}
	return s
}
