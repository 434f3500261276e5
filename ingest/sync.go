package ingest

// Calls that wait: up to 100,000 pairs by POST, and one file by GET (single.go). Their uploads go through the log as
// any other. The answer leaves when the result is stored, for one file when it is decided, and when the log is flushed.
// The two happen at the same time.

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"countersign/ingest/admission"
	"countersign/ingest/problem"
	"countersign/ingest/results"
	"countersign/ingest/server"
	"countersign/sink/store"
)

// serveSyncUpload is POST /api/v1/sign/:url.
func (s *Server) serveSyncUpload(x *server.Exchange, by signer, call, body *admission.Place) *problem.Problem {
	w := waiter{server: s, who: by.who, place: call}
	defer w.close()
	began := time.Now()
	up, p := s.receive(x, submission{signer: by, maxPairs: s.cfg.MaxSyncPairs, beforeSeal: w.watchUpload}, true)
	if p != nil {
		return p
	}
	receivedIn := time.Since(began)
	body.Release() // others may send while this one waits
	reply := s.newReply(x, by.who)
	var d details
	var counts results.Counts
	p = w.finish(x.Context(), up, func(ctx context.Context, outcome results.Outcome) error {
		counts = outcome.Counts
		if err := reply.Reserve(ctx, detailsBytes(up.pairs, outcome.Errors)); err != nil {
			return err
		}
		ctx, done := reply.Context(ctx)
		defer done()
		return w.watch.Details(ctx, d.add)
	})
	if p != nil {
		return p
	}
	s.logUpload(slog.LevelInfo, up, by, receivedIn, counts)
	x.SetOutcome("sync")
	x.ReplyJSON(d.reply())
	x.CloseUnsent(reply.Context)
	return nil
}

// newReply is for a reply that may be large. Its place is given back when the reply was sent.
func (s *Server) newReply(x *server.Exchange, who admission.Who) *admission.Reply {
	reply := s.admission.Replies.New(who)
	x.OnSent(reply.Release)
	return reply
}

// reserve takes a place for the reply to a request that changes nothing, if it has so many bytes that it needs one.
func (s *Server) reserve(ctx context.Context, x *server.Exchange, bytes int64) *problem.Problem {
	reply := s.newReply(x, admission.Who{Client: x.Client()})
	if err := reply.Reserve(ctx, bytes); err != nil {
		return refused(err, 0)
	}
	x.CloseUnsent(reply.Context)
	return nil
}

// waiter is a synchronous call between its seal and its answer.
type waiter struct {
	server *Server
	who    admission.Who
	place  *admission.Place
	watch  *results.Watch // nil: the upload has no UUID yet
	// undecided is the upload in the ledger; nil: it is not there. One that is not finished in time stays there.
	undecided *admission.Undecided
}

// watchUpload begins to watch an upload before its seal is written.
func (w *waiter) watchUpload(up acceptedUpload) {
	w.watch = w.server.results.Watch(up.id, up.pairs)
	if !up.repeated {
		w.undecided = w.server.admission.Ledger.Add(w.who, up.records)
	}
}

func (w *waiter) close() {
	if w.watch != nil {
		w.watch.Close()
	}
	w.undecided.Done()
}

// finish waits for the outcome and for the log's flush. read gets whatever else the answer needs, under the same
// deadline.
func (w *waiter) finish(
	ctx context.Context, up acceptedUpload, read func(context.Context, results.Outcome) error,
) *problem.Problem {
	s := w.server
	placed, done := w.place.Context(ctx)
	defer done()
	waiting, cancel := context.WithTimeout(placed, s.cfg.SyncTimeout)
	defer cancel()
	w.place.Await()
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
	w.undecided = nil
	s.results.Record(up.row()) // the answer says to poll: the upload must be known
	<-s.tell(ctx, up)
	_, refused := errors.AsType[*admission.Refusal](err)
	switch {
	case errors.Is(err, server.ErrStopping):
		return problem.NotFinishedByStop(up.id, err)
	case refused:
		return problem.NotFinishedForRoom(up.id, err)
	case errors.Is(err, admission.ErrSlow), errors.Is(err, admission.ErrRecalled):
		return problem.NotFinishedForOthers(up.id, err)
	}
	return problem.NotFinished(up.id, s.cfg.SyncTimeout, err)
}

// withReason looks up the reason of an error that no event named.
func (w *waiter) withReason(ctx context.Context, outcome results.Outcome) (results.Outcome, error) {
	if outcome.Errors == 0 || outcome.Reason != "" {
		return outcome, nil
	}
	err := w.watch.Details(ctx, func(batch store.BatchResult) {
		for _, e := range batch.Errors {
			outcome.Reason = e.Reason
		}
	})
	return outcome, err
}
