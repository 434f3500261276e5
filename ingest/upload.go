package ingest

// The bulk call.

import (
	"context"
	"time"

	"countersign/ingest/admission"
	"countersign/ingest/problem"
	"countersign/ingest/results"
	"countersign/ingest/server"
	"countersign/sink/store"
)

// serveUpload is POST /api/v1/asyncsign/:url and /api/v1/signasync/:url.
func (s *Server) serveUpload(x *server.Exchange, by signer) *problem.Problem {
	var expected *acceptedUpload // that polls are answered about from now on
	var undecided *admission.Undecided
	up, p := s.receive(x, submission{signer: by, maxPairs: s.cfg.MaxPairs, beforeSeal: func(up acceptedUpload) {
		if !up.repeated {
			expected = &up
			undecided = s.admission.Ledger.Add(by.who, up.records)
			s.results.Expect(up.row(), undecided.Done)
		}
	}}, false)
	known := false // at every process that callers may ask
	if p == nil {
		told := s.tell(x.Context(), up)
		if err := s.intake.flush(x.Context(), up); err != nil {
			p = problemOf(err, false)
		}
		known = <-told
	}
	if p != nil {
		undecided.Done()
		if expected != nil {
			s.results.Forget(expected.id) // only the store knows whether it was accepted all the same
		}
		return p
	}
	outcome := "repeated"
	if !up.repeated {
		outcome = "accepted"
		s.record(x.Context(), up.row(), known)
	}
	x.SetOutcome(outcome)
	x.ReplyJSON(appendAccepted(nil, up.id, up.pairs))
	return nil
}

// receive reads the request's body into the log. sync says which call's limits are meant.
func (s *Server) receive(x *server.Exchange, in submission, sync bool) (acceptedUpload, *problem.Problem) {
	body, p := x.OpenBody()
	if p != nil {
		return acceptedUpload{}, p
	}
	defer body.Close()
	started := time.Now()
	in.source = bodySource{body}
	up, err := s.intake.accept(body.Context(), in)
	s.metrics.received(body.Received(), time.Since(started))
	if err != nil {
		return acceptedUpload{}, problemOf(body.Explain(err), sync)
	}
	s.metrics.pairs.Add(float64(up.pairs))
	return up, nil
}

// tellTimeout bounds how long an answer waits until every process is told of its upload.
const tellTimeout = time.Second

// tell tells every process that an upload is accepted, so that its polls are answered wherever they come, also while
// the store is away. The channel gets true when that was done, and false when it was given up: then the upload counts
// as untold, and polls at other processes wait until it is stored.
func (s *Server) tell(ctx context.Context, up acceptedUpload) (told <-chan bool) {
	done := make(chan bool, 1)
	if up.repeated || s.cfg.Alone {
		done <- true
		return done
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellTimeout)
		defer cancel()
		err := s.cfg.Log.Tell(ctx, results.AcceptedEvent(up.row()))
		if err != nil {
			s.metrics.untold.Inc()
		}
		done <- err == nil
	}()
	return done
}

// record has an upload's row stored. Where not every process knows the upload without the row, it waits a moment for
// that.
func (s *Server) record(ctx context.Context, row store.Upload, known bool) {
	stored := s.results.Record(row)
	if known {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RecordWait)
	defer cancel()
	select {
	case <-stored:
	case <-ctx.Done():
	}
}
