package ingest

// Whether an upload sent now would be accepted, and one accepted now would be finished.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"countersign/ingest/problem"
	"countersign/internal/health"
)

// Names of the checks.
const (
	checkDisk    = "disk"    // of the process, not of this package: the embedded log has room
	checkLog     = "log"     // records can be appended: while they can't, uploads are refused
	checkEvents  = "events"  // topic events is followed
	checkBacklog = "backlog" // no more waits in the log than may wait
	checkStore   = "store"   // ClickHouse takes what was accepted
)

// Failures go on for so long before they count: a partition's leader may move, a connection may break.
const (
	logPatience   = 3 * time.Second
	storePatience = 3 * time.Second
)

// probes are asked once a second while the server runs.
func (s *Server) probes() []health.Check {
	return []health.Check{
		{Name: checkLog, Probe: s.probeLog, Patience: logPatience},
		{Name: checkEvents, Probe: s.probeEvents},
		{Name: checkBacklog, Probe: s.probeBacklog},
		{Name: checkStore, Probe: s.probeStore, Patience: storePatience},
	}
}

func (s *Server) probeLog(ctx context.Context) error {
	defer s.logAsked.Store(true)
	return s.cfg.Log.Check(ctx)
}

func (s *Server) probeEvents(context.Context) error {
	if !s.results.Following() {
		return errors.New("topic events can't be followed: is Kafka there?")
	}
	return s.cfg.Log.Followed()
}

func (s *Server) probeBacklog(context.Context) error {
	if waiting := s.backlog.Load(); waiting > s.cfg.MaxBacklog {
		return fmt.Errorf("%d records wait in the log, more than the limit of %d: are verify and sink running?",
			waiting, s.cfg.MaxBacklog)
	}
	return nil
}

func (s *Server) probeStore(ctx context.Context) error {
	if waiting := s.results.Unrecorded(); waiting >= s.cfg.MaxUnrecorded {
		return fmt.Errorf("%d accepted uploads wait for their row, the most at a time: does ClickHouse take inserts?",
			waiting)
	}
	if store, ok := s.cfg.Store.(interface{ Check(context.Context) error }); ok {
		return store.Check(ctx)
	}
	_, _, err := s.cfg.Store.Upload(ctx, uuid.Nil)
	return err
}

// Checks are what the server knows of its health, for the board of the whole process. Their probes don't wait: the
// server asks by itself while it runs.
func (s *Server) Checks() []health.Check {
	checks := s.probes()
	for i := range checks {
		name := checks[i].Name
		checks[i].Patience = 0
		checks[i].Probe = func(context.Context) error { return s.failing(name) }
	}
	return checks
}

// failing is why a check fails; nil: it doesn't.
func (s *Server) failing(name string) error {
	if reasons := s.health.Reasons(name); len(reasons) > 0 {
		return errors.New(strings.TrimPrefix(reasons[0], name+": "))
	}
	return nil
}

// Serving is nil while the API listens and takes new requests, and otherwise says why it doesn't.
func (s *Server) Serving() error {
	switch {
	case s.http.Stopping():
		return errors.New("the API shuts down")
	case !s.http.Serving():
		return errors.New("the API does not listen yet")
	}
	return nil
}

// NotReady says why the server should get no requests now; empty: it should.
func (s *Server) NotReady() []string {
	if s.http.Stopping() {
		return []string{s.Serving().Error()} // whatever else fails now says nothing
	}
	if err := s.Serving(); err != nil {
		return append([]string{err.Error()}, s.health.Reasons()...)
	}
	return s.health.Reasons()
}

// refusal is why no upload is accepted now, as far as the server's health says so, or that of its process, which /readyz
// shows; nil: they don't. Each asks the log by itself, and the first to know counts: an upload that comes after /readyz
// has said no must not wait for the log in vain. While the log has not been asked yet, uploads find out by themselves.
func (s *Server) refusal() *problem.Problem {
	if s.cfg.NotReady != nil {
		if reasons := s.cfg.NotReady(checkDisk); len(reasons) > 0 {
			return problem.DiskFull(errors.New(reasons[0]))
		}
		if reasons := s.cfg.NotReady(checkLog); len(reasons) > 0 {
			return problem.LogUnavailable(errors.New(reasons[0]))
		}
	}
	if !s.logAsked.Load() {
		return nil
	}
	if err := s.failing(checkLog); err != nil {
		return problem.LogUnavailable(err)
	}
	return nil
}
