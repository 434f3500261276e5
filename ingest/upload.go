package ingest

// The bulk call, and what every call with a body checks before that is read.

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"countersign/ingest/problem"
	"countersign/pipeline/record"
)

// Admission, cheap checks first, slots last.

func (x *exchange) admitUpload() *problem.Problem {
	if p := x.admitSite(); p != nil {
		return p
	}
	if p := x.admitBody(); p != nil {
		return p
	}
	if p := x.srv.admitLoad(); p != nil {
		return p
	}
	return x.take(x.srv.uploads)
}

// admitSite reads the site from the path.
func (x *exchange) admitSite() *problem.Problem {
	site, err := record.ParseSite(x.args[0])
	if err != nil {
		return problem.InvalidSite(err)
	}
	x.site = site
	return nil
}

// admitBody reads the head's say about the body.
func (x *exchange) admitBody() *problem.Problem {
	head := &x.ctx.Request.Header
	var p *problem.Problem
	// Several fields are one list (RFC 9110, section 5.2).
	if x.coding, p = coding(string(bytes.Join(head.PeekAll("Content-Encoding"), []byte(", ")))); p != nil {
		return p
	}
	if int64(head.ContentLength()) > x.srv.cfg.MaxBody {
		return problem.BodyTooLarge(x.srv.cfg.MaxBody)
	}
	return x.admitKey()
}

func (x *exchange) admitKey() *problem.Problem {
	values := x.ctx.Request.Header.PeekAll("Idempotency-Key")
	if len(values) == 0 {
		return nil
	}
	x.key = string(values[0])
	if len(values) > 1 || len(x.key) < 1 || len(x.key) > 255 {
		return problem.InvalidKey()
	}
	for _, c := range []byte(x.key) {
		if c <= ' ' || c > '~' {
			return problem.InvalidKey()
		}
	}
	return nil
}

// admitLoad decides whether the server takes new work at all.
func (s *Server) admitLoad() *problem.Problem {
	if s.draining.Load() {
		return problem.Stopping()
	}
	if waiting := s.backlog.Load(); waiting > s.cfg.MaxBacklog {
		return problem.Backlog(waiting, s.cfg.MaxBacklog)
	}
	if s.recorder.full() {
		return problem.TooManyUnrecorded(s.cfg.MaxUnrecorded)
	}
	return nil
}

// take takes a slot until Close.
func (x *exchange) take(slots chan struct{}) *problem.Problem {
	select {
	case slots <- struct{}{}:
		x.slots = append(x.slots, func() { <-slots })
		return nil
	default:
		return problem.Busy(cap(slots))
	}
}

// giveBack gives the first slot taken back.
func (x *exchange) giveBack() {
	x.slots[0]()
	x.slots = x.slots[1:]
}

// receive takes the request's body in.
func (x *exchange) receive(in incoming, sync bool) (accepted, *problem.Problem) {
	ctx, done := x.openBody()
	defer done()
	started := time.Now()
	body, free, err := decoded(x.body, x.coding)
	if err != nil {
		return accepted{}, problem.Internal(err)
	}
	defer free()
	in.site, in.key, in.source = x.site, x.key, bodySource{body, x.body.check}
	up, err := x.srv.intake.take(ctx, in)
	x.srv.metrics.received(x.body.n, time.Since(started))
	if err != nil {
		if x.body.cut && x.body.n == 0 {
			err = x.body.check() // and not that the body is empty
		}
		return accepted{}, problemOf(err, sync)
	}
	x.srv.metrics.pairs.Add(float64(up.pairs))
	return up, nil
}

// serveUpload is POST /api/v1/asyncsign/:url and /api/v1/signasync/:url.
func serveUpload(x *exchange) *problem.Problem {
	s := x.srv
	var followed uuid.UUID
	up, failed := x.receive(incoming{maxPairs: s.cfg.MaxPairs, named: func(up accepted) {
		if !up.repeated {
			followed = up.id
			s.hub.follow(up)
		}
	}}, false)
	if failed == nil {
		if err := s.intake.flush(s.base, up); err != nil {
			failed = problemOf(err, false)
		}
	}
	if failed != nil {
		s.hub.polled.drop(followed) // only the store knows whether it was accepted all the same
		return failed
	}
	if x.outcome = "repeated"; !up.repeated {
		x.outcome = "accepted"
		s.record(up)
	}
	x.ctx.SetStatusCode(http.StatusOK)
	x.replyJSON(appendAccepted(nil, up.id, uint64(up.pairs)))
	return nil
}

// record has an upload's row written, and waits a moment for it.
func (s *Server) record(up accepted) {
	stored := s.recorder.add(up.row())
	ctx, cancel := context.WithTimeout(s.base, s.cfg.RecordWait)
	defer cancel()
	select {
	case <-stored:
	case <-ctx.Done():
	}
}
