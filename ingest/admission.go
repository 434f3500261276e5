package ingest

// What is checked before a body is read: cheap checks first, places last.

import (
	"countersign/ingest/problem"
	"countersign/ingest/server"
	"countersign/pipeline/record"
)

// signer is what the head of a request says about who signs.
type signer struct {
	name string // the site as in the path, decoded
	site string // its canonical form
	key  string // Idempotency-Key; empty: none
}

func (s *Server) admitUpload(x *server.Exchange) (server.Handler, *problem.Problem) {
	by, _, p := s.admitBody(x)
	if p != nil {
		return nil, p
	}
	return func(x *server.Exchange) *problem.Problem { return s.serveUpload(x, by) }, nil
}

func (s *Server) admitSyncUpload(x *server.Exchange) (server.Handler, *problem.Problem) {
	by, giveBack, p := s.admitBody(x)
	if p != nil {
		return nil, p
	}
	if _, p := s.waits.occupy(x); p != nil {
		return nil, p
	}
	return func(x *server.Exchange) *problem.Problem { return s.serveSyncUpload(x, by, giveBack) }, nil
}

func (s *Server) admitSingle(x *server.Exchange) (server.Handler, *problem.Problem) {
	by, p := admitSite(x)
	if p != nil {
		return nil, p
	}
	if by.key, p = admitKey(x); p != nil {
		return nil, p
	}
	if p := s.admitLoad(); p != nil {
		return nil, p
	}
	if _, p := s.waits.occupy(x); p != nil {
		return nil, p
	}
	return func(x *server.Exchange) *problem.Problem { return s.serveSingle(x, by) }, nil
}

// admitBody checks a request that brings pairs. giveBack gives back the place of its body.
func (s *Server) admitBody(x *server.Exchange) (by signer, giveBack func(), p *problem.Problem) {
	if by, p = admitSite(x); p != nil {
		return by, nil, p
	}
	if p = x.AdmitBody(); p != nil {
		return by, nil, p
	}
	if by.key, p = admitKey(x); p != nil {
		return by, nil, p
	}
	if p = s.admitLoad(); p != nil {
		return by, nil, p
	}
	giveBack, p = s.uploads.occupy(x)
	return by, giveBack, p
}

// admitSite reads the site from the path.
func admitSite(x *server.Exchange) (signer, *problem.Problem) {
	site, err := record.ParseSite(x.Arg(0))
	if err != nil {
		return signer{}, problem.InvalidSite(err)
	}
	return signer{name: x.Arg(0), site: site}, nil
}

func admitKey(x *server.Exchange) (string, *problem.Problem) {
	values := x.Field("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := string(values[0])
	if len(values) > 1 || len(key) < 1 || len(key) > 255 {
		return "", problem.InvalidKey()
	}
	for _, c := range []byte(key) {
		if c <= ' ' || c > '~' {
			return "", problem.InvalidKey()
		}
	}
	return key, nil
}

// admitLoad decides whether the server takes new work at all.
func (s *Server) admitLoad() *problem.Problem {
	if s.http.Stopping() {
		return problem.Stopping()
	}
	if p := s.refusal(); p != nil {
		return p
	}
	if waiting := s.backlog.Load(); waiting > s.cfg.MaxBacklog {
		return problem.Backlog(waiting, s.cfg.MaxBacklog)
	}
	if s.results.Unrecorded() >= s.cfg.MaxUnrecorded { // uploads that are open already may exceed it by their number
		return problem.TooManyUnrecorded(s.cfg.MaxUnrecorded)
	}
	return nil
}

// places bounds how many requests of a kind are open: a token for each, its capacity the bound.
type places chan struct{}

// occupy takes a place until the exchange ends, or giveBack is called, which may be called again.
func (p places) occupy(x *server.Exchange) (giveBack func(), full *problem.Problem) {
	select {
	case p <- struct{}{}:
	default:
		return nil, problem.Busy(cap(p))
	}
	occupied := true // only ever seen by the goroutine of x
	giveBack = func() {
		if occupied {
			occupied = false
			<-p
		}
	}
	x.OnEnd(giveBack)
	return giveBack, nil
}

// open is how many places are occupied.
func (p places) open() int { return len(p) }
