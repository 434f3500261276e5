package ingest

// Calls that wait: up to 10,000 pairs by POST, and one file by GET (single.go). Their uploads go through the log as any
// other. The answer leaves when the result is stored, for one file when it is decided, and when the log is flushed. The
// two happen at the same time.

import (
	"context"
	"errors"

	"countersign/ingest/problem"
	"countersign/ingest/results"
	"countersign/ingest/server"
	"countersign/sink/store"
)

// serveSyncUpload is POST /api/v1/sign/:url. giveBack gives back the place of its body.
func (s *Server) serveSyncUpload(x *server.Exchange, by signer, giveBack func()) *problem.Problem {
	w := waiter{server: s}
	defer w.close()
	up, p := s.receive(x, submission{signer: by, maxPairs: s.cfg.MaxSyncPairs, beforeSeal: w.watchUpload}, true)
	if p != nil {
		return p
	}
	giveBack() // others may send while this one waits
	var details []store.BatchResult
	p = w.finish(x.Context(), up, func(ctx context.Context, _ results.Outcome) (err error) {
		details, err = w.watch.Details(ctx)
		return err
	})
	if p != nil {
		return p
	}
	x.SetOutcome("sync")
	x.ReplyJSON(appendDetails(nil, details))
	return nil
}

// waiter is a synchronous call between its seal and its answer.
type waiter struct {
	server *Server
	watch  *results.Watch // nil: the upload has no UUID yet
}

// watchUpload begins to watch an upload before its seal is written.
func (w *waiter) watchUpload(up acceptedUpload) { w.watch = w.server.results.Watch(up.id, up.pairs) }

func (w *waiter) close() {
	if w.watch != nil {
		w.watch.Close()
	}
}

// finish waits for the outcome and for the log's flush. read gets whatever else the answer needs, under the same
// deadline.
func (w *waiter) finish(
	ctx context.Context, up acceptedUpload, read func(context.Context, results.Outcome) error,
) *problem.Problem {
	s := w.server
	waiting, cancel := context.WithTimeout(ctx, s.cfg.SyncTimeout)
	defer cancel()
	flushed := make(chan error, 1)
	go func() { flushed <- s.intake.flush(waiting, up) }() // its end is awaited below, on every path
	outcome, err := w.watch.Wait(waiting, up.repeated)
	if err == nil {
		err = read(waiting, outcome)
	}
	if failed := <-flushed; failed != nil {
		return problemOf(failed, true)
	}
	if err == nil {
		return nil
	}
	s.results.Record(up.row()) // the answer says to poll: the upload must be known
	<-s.tell(ctx, up)
	if errors.Is(err, server.ErrStopping) {
		return problem.NotFinishedByStop(up.id, err)
	}
	return problem.NotFinished(up.id, s.cfg.SyncTimeout, err)
}

// withReason looks up the reason of an error that no event named.
func (w *waiter) withReason(ctx context.Context, outcome results.Outcome) (results.Outcome, error) {
	if outcome.Errors == 0 || outcome.Reason != "" {
		return outcome, nil
	}
	details, err := w.watch.Details(ctx)
	if err != nil {
		return outcome, err
	}
	for _, batch := range details {
		for _, e := range batch.Errors {
			outcome.Reason = e.Reason
		}
	}
	return outcome, nil
}
