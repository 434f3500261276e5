package bench

// What stands beside the service: OpenSSL, Go's crypto and our verifier, one after the other within each round.

import (
	"context"
)

// contest is the verifiers for one kind of key, and what they did in the rounds so far, in verifications a second.
type contest struct {
	algorithm
	pairs              *signed
	goVerify, verify   verifier
	openssl, std, ours []float64
}

// newContest prepares the verifiers of a pool's key. It reserves none of the pool's pairs.
func (s *session) newContest(ctx context.Context, p *pool) (*contest, error) {
	n := 4 * ourCall
	if s.Quick {
		n = ourCall
	}
	if err := s.ensure(ctx, p, n); err != nil {
		return nil, err
	}
	c := &contest{algorithm: p.algorithm}
	var err error
	if c.pairs, err = p.read(0, n); err != nil {
		return nil, err
	}
	if c.goVerify, err = goVerifier(p.key.Public()); err != nil {
		return nil, err
	}
	c.verify, err = ourVerifier(p.key.Public())
	return c, err
}

// round lets each verify once.
func (c *contest) round(ctx context.Context, s *session, record bool) error {
	s.settle(ctx)
	openssl, err := s.openssl(ctx, c.algorithm)
	if err != nil {
		return err
	}
	std, err := verifyRate(ctx, c.goVerify, c.pairs, goCall, s.Slice)
	if err != nil {
		return err
	}
	ours, err := verifyRate(ctx, c.verify, c.pairs, ourCall, s.Slice)
	if err != nil || !record {
		return err
	}
	c.openssl, c.std, c.ours = append(c.openssl, openssl), append(c.std, std), append(c.ours, ours)
	return nil
}

// withoutOpenSSL is why figures that need it are missing; empty where it was there.
func (c *contest) withoutOpenSSL() string {
	for _, rate := range c.openssl {
		if rate > 0 {
			return ""
		}
	}
	return errNoOpenSSL.Error()
}

// report adds the verifiers' own figures under a group, and returns their IDs.
func (c *contest) report(r *Report, prefix, group string) []string {
	ids := []string{prefix + ".openssl", prefix + ".go", prefix + ".ours"}
	openssl := Figure{ID: ids[0], Group: group, Title: c.title + ", openssl speed", Unit: "/s", Samples: c.openssl}
	if why := c.withoutOpenSSL(); why != "" {
		openssl.Samples, openssl.Missing = nil, why
	}
	r.add(openssl)
	r.add(Figure{ID: ids[1], Group: group, Title: c.title + ", Go's crypto", Unit: "/s", Samples: c.std})
	r.add(Figure{ID: ids[2], Group: group, Title: c.title + ", ours bare", Unit: "/s", Samples: c.ours})
	return ids
}

// over adds a figure that is a ratio to OpenSSL's.
func (c *contest) over(r *Report, f Figure, samples []float64) {
	f.Unit, f.Samples = "×", samples
	if why := c.withoutOpenSSL(); why != "" {
		f.Samples, f.Missing = nil, why
	}
	r.add(f)
}

// bare is the experiment: for each kind of key, the verifiers alone.
func (s *session) bare(ctx context.Context) error {
	targets := map[string]*Target{
		"rsa2048": atLeast(4, 4.7), "rsa3072": atLeast(4, 4.7), "rsa4096": atLeast(4, 4.7),
		"p256": atLeast(1.8, 5), "p384": atLeast(2, 8),
	}
	group := "Verifying alone, all cores"
	for _, a := range algorithms() {
		if s.Quick && a.name != "rsa2048" && a.name != "p256" {
			continue
		}
		p, err := s.pool(a, 0)
		if err != nil {
			return err
		}
		c, err := s.newContest(ctx, p)
		if err != nil {
			return err
		}
		if err := s.rounds(ctx, func(record bool) error { return c.round(ctx, s, record) }); err != nil {
			return err
		}
		id := "bare." + a.name
		ids := c.report(s.report, id, group)
		c.over(s.report, Figure{ID: id + ".over-openssl", Group: group, Title: a.title + ", ours over openssl", Target: targets[a.name], Beside: ids}, ratios(c.ours, c.openssl))
		s.report.add(Figure{ID: id + ".over-go", Group: group, Title: a.title + ", ours over Go's crypto", Unit: "×", Samples: ratios(c.ours, c.std), Beside: ids})
	}
	return nil
}
