package bench

// One upload at a time: the claim that the project makes. Each round has the verifiers alone, an upload of new pairs,
// and the same upload again.

import (
	"context"
)

// trip is what the uploads of one kind of key took, in seconds, by round.
type trip struct {
	done, replied, again []float64
}

// uploads is the experiment.
func (s *session) uploads(ctx context.Context) error {
	for _, name := range []string{"rsa2048", "p256"} {
		a, err := findAlgorithm(name)
		if err != nil {
			return err
		}
		p, err := s.pool(a, 0)
		if err != nil {
			return err
		}
		if err := s.startEmpty(ctx); err != nil {
			return err
		}
		if err := s.ensure(ctx, p, s.Pairs*(s.Warmup+s.Rounds)); err != nil {
			return err
		}
		c, err := s.newContest(ctx, p)
		if err != nil {
			return err
		}
		t := new(trip)
		if err := s.rounds(ctx, func(record bool) error { return s.tripRound(ctx, c, p, t, record) }); err != nil {
			return err
		}
		s.reportTrip(c, t)
	}
	return nil
}

func (s *session) tripRound(ctx context.Context, c *contest, p *pool, t *trip, record bool) error {
	if err := c.round(ctx, s, record); err != nil {
		return err
	}
	b, err := p.unsent(s.Pairs)
	if err != nil {
		return err
	}
	s.settle(ctx)
	first, err := s.uploadOnce(ctx, b)
	if err != nil {
		return err
	}
	s.settle(ctx)
	second, err := s.uploadOnce(ctx, b.again())
	if err != nil || !record {
		return err
	}
	t.done, t.replied = append(t.done, first.done.Seconds()), append(t.replied, first.replied.Seconds())
	t.again = append(t.again, second.done.Seconds())
	return nil
}

// uploadOnce sends one upload over a connection that is open already.
func (s *session) uploadOnce(ctx context.Context, b *body) (uploaded, error) {
	results, err := load{workers: 1, count: 1}.run(ctx, s.server, func() (*body, error) { return b, nil })
	if err != nil {
		return uploaded{}, err
	}
	u := results.uploads[0].uploaded
	if u.refused > 0 {
		s.report.note("The service refused uploads for a while (503): what it had been given before was still waiting.")
	}
	return u, nil
}

func (s *session) reportTrip(c *contest, t *trip) {
	prefix, r := "upload."+c.name, s.report
	n := float64(s.Pairs)
	group := "One upload of " + number(n) + " " + c.title + " pairs, first byte to last result"
	ids := c.report(r, prefix, group)
	rate := each(t.done, func(seconds float64) float64 { return n / seconds })
	var reply, overGo *Target
	overOpenSSL := atLeast(1.5, 4)
	if c.name == "rsa2048" {
		reply, overGo, overOpenSSL = atMost(1, 0), atMost(1.6, 0), atLeast(1, 2)
	}
	r.add(Figure{ID: prefix + ".time", Group: group, Title: "time", Unit: "s", Samples: t.done, Beside: ids})
	r.add(Figure{ID: prefix + ".rate", Group: group, Title: "hashes a second", Unit: "/s", Samples: rate, Beside: ids})
	r.add(Figure{ID: prefix + ".reply", Group: group, Title: "reply to the POST", Unit: "s", Samples: t.replied, Target: reply, Beside: ids})
	c.over(r, Figure{ID: prefix + ".over-openssl", Group: group, Title: "openssl's time to verify them over our time", Target: overOpenSSL, Beside: ids},
		ratios(rate, c.openssl))
	r.add(Figure{ID: prefix + ".over-go", Group: group, Title: "our time over Go's crypto's", Unit: "×", Samples: ratios(c.std, rate), Target: overGo, Beside: ids})
	r.add(Figure{ID: prefix + ".again", Group: group, Title: "the same again, all duplicates", Unit: "s", Samples: t.again, Beside: ids})
	r.add(Figure{ID: prefix + ".again-ratio", Group: group, Title: "its time over the first's", Unit: "×", Samples: ratios(t.again, t.done),
		Target: atMost(2, 0), Beside: []string{prefix + ".time"}})
}
