package results

// Waiting for results: synchronous calls learn of them by events, and ask the store when none come.

import (
	"context"
	"time"

	"countersign/internal/pause"
	"countersign/pipeline/record"
	"countersign/sink/store"
)

// maxAsking is how many synchronous calls may ask the store at a time because their events are late. If all of them
// did, they would slow down what they wait for.
const maxAsking = 4

// Wait returns what became of the upload. The error is the cause of ctx's end, never anything else: a store that is
// away is asked again. askFirst is for an upload whose events may have come before the watch: then the store is asked
// at once.
func (w *Watch) Wait(ctx context.Context, askFirst bool) (Outcome, error) {
	t := w.tracker
	first := t.cfg.Poll
	if askFirst {
		first = 0
	} else if !t.Following() {
		first = t.cfg.Poll / 4
	}
	timer := time.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-w.complete:
			return w.outcome, nil
		case <-ctx.Done():
			return Outcome{}, context.Cause(ctx)
		case <-timer.C:
		}
		if s, ok := w.ask(ctx); ok && s.Complete() {
			return Outcome{Counts: s.Counts}, nil
		}
		timer.Reset(t.cfg.Poll)
	}
}

// ask asks the store once. It doesn't if too many calls do so right now.
func (w *Watch) ask(ctx context.Context) (Status, bool) {
	t := w.tracker
	select {
	case t.asking <- struct{}{}:
		defer func() { <-t.asking }()
	default:
		return Status{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, t.cfg.StoreTimeout)
	defer cancel()
	progress, _, err := t.questions.progress.get(ctx, w.upload)
	if err != nil {
		if ctx.Err() == nil {
			t.cfg.Logger.Warn("could not ask for a synchronous call's result", "upload", w.upload, "error", err)
		}
		return Status{}, false
	}
	return statusOf(progress, record.Batches(w.pairs)), true
}

// Details calls each with what became of the pairs of each batch, in order, once Wait has returned an outcome. The store
// has all of it then, or is away; Details asks until ctx ends, and the error is the cause of that.
func (w *Watch) Details(ctx context.Context, each func(store.BatchResult)) error {
	t := w.tracker
	for next, batches := 1, record.Batches(w.pairs); next <= batches; {
		r, ok, err := t.Batch(ctx, w.upload, uint32(next))
		if err == nil && ok && r.Done {
			each(r)
			next++
			continue
		}
		if err != nil && ctx.Err() == nil {
			t.cfg.Logger.Warn("could not read a synchronous call's result: trying again",
				"upload", w.upload, "error", err)
		}
		if pause.For(ctx, t.cfg.Poll/4) != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}
