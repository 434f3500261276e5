package ingest

// What is checked before a body is read: cheap checks first, places last.

import (
	"errors"

	"countersign/ingest/admission"
	"countersign/ingest/problem"
	"countersign/ingest/server"
	"countersign/internal/hostname"
	"countersign/pipeline/record"
)

// signer is what the head of a request says about who signs.
type signer struct {
	name string        // the site as in the path, decoded
	site string        // its canonical form
	key  string        // Idempotency-Key; empty: none
	who  admission.Who // what its places and its undecided records are charged to
}

func (s *Server) admitUpload(x *server.Exchange) (server.Handler, *problem.Problem) {
	by, p := s.admitPairs(x)
	if p != nil {
		return nil, p
	}
	if _, p := enterBody(x, s.admission.Uploads, by.who); p != nil {
		return nil, p
	}
	return func(x *server.Exchange) *problem.Problem { return s.serveUpload(x, by) }, nil
}

func (s *Server) admitSyncUpload(x *server.Exchange) (server.Handler, *problem.Problem) {
	by, p := s.admitPairs(x)
	if p != nil {
		return nil, p
	}
	call, p := enterCall(x, s.admission.Calls, by.who) // first: a body that has its place must come
	if p != nil {
		return nil, p
	}
	body, p := enterBody(x, s.admission.Uploads, by.who)
	if p != nil {
		return nil, p
	}
	return func(x *server.Exchange) *problem.Problem { return s.serveSyncUpload(x, by, call, body) }, nil
}

func (s *Server) admitSingle(x *server.Exchange) (server.Handler, *problem.Problem) {
	by, p := admitSite(x)
	if p != nil {
		return nil, p
	}
	if by.key, p = admitKey(x); p != nil {
		return nil, p
	}
	if p := s.admitLoad(by.who); p != nil {
		return nil, p
	}
	call, p := enterCall(x, s.admission.Calls, by.who)
	if p != nil {
		return nil, p
	}
	return func(x *server.Exchange) *problem.Problem { return s.serveSingle(x, by, call) }, nil
}

// admitPairs checks a request that brings pairs in its body.
func (s *Server) admitPairs(x *server.Exchange) (by signer, p *problem.Problem) {
	if by, p = admitSite(x); p != nil {
		return by, p
	}
	if p = x.AdmitBody(); p != nil {
		return by, p
	}
	if by.key, p = admitKey(x); p != nil {
		return by, p
	}
	return by, s.admitLoad(by.who)
}

// admitSite reads the site from the path.
func admitSite(x *server.Exchange) (signer, *problem.Problem) {
	site, err := record.ParseSite(x.Arg(0))
	if err != nil {
		return signer{}, problem.InvalidSite(err)
	}
	who := admission.Who{Client: x.Client(), Domain: hostname.Domain(site)}
	return signer{name: x.Arg(0), site: site, who: who}, nil
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
func (s *Server) admitLoad(who admission.Who) *problem.Problem {
	if s.http.Stopping() {
		return problem.Stopping()
	}
	if p := s.refusal(); p != nil {
		return p
	}
	waiting := s.backlog.Load()
	if err := s.admission.Ledger.Admit(who, waiting); err != nil {
		return refused(err, waiting)
	}
	if s.results.Unrecorded() >= s.cfg.MaxUnrecorded { // uploads that are open already may exceed it by their number
		return problem.TooManyUnrecorded(s.cfg.MaxUnrecorded)
	}
	return nil
}

// enterBody takes a place for the request's body, until the end of the exchange or its Release.
func enterBody(x *server.Exchange, gate *admission.Gate, who admission.Who) (*admission.Place, *problem.Problem) {
	place, err := gate.Enter(x.Context(), who)
	if err != nil {
		return nil, refused(err, 0)
	}
	x.HoldPlace(place)
	return place, nil
}

// enterCall takes a place for a synchronous call, until the end of the exchange.
func enterCall(x *server.Exchange, gate *admission.Gate, who admission.Who) (*admission.Place, *problem.Problem) {
	place, err := gate.Enter(x.Context(), who)
	if err != nil {
		return nil, refused(err, 0)
	}
	x.OnEnd(place.Release)
	return place, nil
}

// refused is the reply for an error of package admission. waiting is the backlog in records.
func refused(err error, waiting int64) *problem.Problem {
	var refusal *admission.Refusal
	if !errors.As(err, &refusal) {
		return problem.Stopping()
	}
	p := problem.Busy(int(refusal.Limit))
	switch {
	case refusal.Reason == admission.Backlog:
		p = problem.Backlog(waiting, refusal.Limit)
	case refusal.Reason == admission.OverShare && refusal.Undecided():
		p = problem.OverUndecidedShare(refusal.Limit, refusal.RetryAfter)
	case refusal.Reason == admission.OverShare:
		p = problem.OverShare(refusal.Limit, refusal.RetryAfter)
	}
	p.RateLimit = [2]string{refusal.PolicyField(), refusal.LimitField()}
	return p
}
