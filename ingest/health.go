package ingest

// Whether an upload sent now would be accepted, and one accepted now would be finished. The process has one board of
// checks (package health), to which the server adds its own. Readiness and the admission of uploads read the same
// answers there.

import (
	"context"
	"errors"
	"fmt"

	"countersign/ingest/problem"
	"countersign/internal/health"
)

// Names of the checks.
const (
	checkDisk       = "disk"       // of the process, not of this package: the embedded log has room
	checkLog        = "log"        // of the process, too: records can be appended
	checkEvents     = "events"     // topic events is followed
	checkBacklog    = "backlog"    // no more waits in the log than may wait
	checkUnrecorded = "unrecorded" // no more accepted uploads wait for their row than may wait
)

// Checks are what the server knows of its health, for the board of the whole process.
func (s *Server) Checks() []health.Check {
	return []health.Check{
		{Name: checkEvents, Probe: s.probeEvents},
		{Name: checkBacklog, Probe: s.probeBacklog},
		{Name: checkUnrecorded, Probe: s.probeUnrecorded},
		{Name: "api", Probe: func(context.Context) error { return s.Serving() }},
	}
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

func (s *Server) probeUnrecorded(context.Context) error {
	if waiting := s.results.Unrecorded(); waiting >= s.cfg.MaxUnrecorded {
		return fmt.Errorf("%d accepted uploads wait for their row, the most at a time: does ClickHouse take inserts?",
			waiting)
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

// refusal is why no upload is accepted now, as far as the process's health says so; nil: it doesn't. While a check was
// not asked yet, uploads find out by themselves.
func (s *Server) refusal() *problem.Problem {
	if s.cfg.Failing == nil {
		return nil
	}
	if err := s.cfg.Failing(checkDisk); err != nil {
		return problem.DiskFull(err)
	}
	if err := s.cfg.Failing(checkLog); err != nil {
		return problem.LogUnavailable(err)
	}
	return nil
}
