package bench

// The experiments with single signings, and what bulk gains over them.

import (
	"context"
	"fmt"
)

// readied is a service with nothing stored and the contest of RSA-2048, which most experiments are measured beside.
func (s *session) readied(ctx context.Context, pairs int) (*pool, *contest, error) {
	a, err := findAlgorithm("rsa2048")
	if err != nil {
		return nil, nil, err
	}
	p, err := s.pool(a, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := s.startEmpty(ctx); err != nil {
		return nil, nil, err
	}
	if err := s.ensure(ctx, p, pairs); err != nil {
		return nil, nil, err
	}
	c, err := s.newContest(ctx, p)
	return p, c, err
}

// signFresh sends n new pairs one a request, so many at once.
func (s *session) signFresh(ctx context.Context, p *pool, n, atOnce int) (signings, error) {
	first, err := p.reserve(n)
	if err != nil {
		return signings{}, err
	}
	pairs, err := p.texts(first, n)
	if err != nil {
		return signings{}, err
	}
	s.settle(ctx)
	return sign(ctx, s.server, p.site, pairs, atOnce)
}

// singles is the experiment. Each round has the verifiers alone, signings one after the other, 32 and 64 at once.
func (s *session) singles(ctx context.Context) error {
	alone, many := 300, 8_000
	if s.Quick {
		alone, many = 10, 64
	}
	p, c, err := s.readied(ctx, (alone+2*many)*(s.Warmup+s.Rounds))
	if err != nil {
		return err
	}
	var medians, tails, rate32, rate64, tail64 []float64
	var all []float64
	err = s.rounds(ctx, func(record bool) error {
		if err := c.round(ctx, s, record); err != nil {
			return err
		}
		idle, err := s.signFresh(ctx, p, alone, 1)
		if err != nil {
			return err
		}
		at32, err := s.signFresh(ctx, p, many, 32)
		if err != nil {
			return err
		}
		at64, err := s.signFresh(ctx, p, many, 64)
		if err != nil || !record {
			return err
		}
		medians, tails = append(medians, median(idle.milliseconds)), append(tails, quantile(idle.milliseconds, 0.99))
		rate32, rate64 = append(rate32, at32.rate()), append(rate64, at64.rate())
		tail64 = append(tail64, quantile(at64.milliseconds, 0.99))
		all = append(all, idle.milliseconds...)
		return nil
	})
	if err != nil {
		return err
	}
	group, r := "Single signings, RSA-2048", s.report
	ids := c.report(r, "single", group)
	r.add(Figure{ID: "single.median", Group: group, Title: "idle service, median", Unit: "ms", Samples: medians, Target: atMost(30, 0), Beside: ids})
	r.add(Figure{ID: "single.p99", Group: group, Title: "idle service, 99th percentile", Unit: "ms", Samples: tails, Target: atMost(100, 0), Beside: ids})
	r.add(Figure{ID: "single.32", Group: group, Title: "32 at once", Unit: "/s", Samples: rate32, Target: atLeast(1000, 0), Beside: ids})
	r.add(Figure{ID: "single.64", Group: group, Title: "64 at once", Unit: "/s", Samples: rate64, Target: atLeast(3000, 10000), Beside: ids})
	r.add(Figure{ID: "single.64.p99", Group: group, Title: "64 at once, 99th percentile", Unit: "ms", Samples: tail64, Beside: ids})
	r.Charts = append(r.Charts, &Chart{Title: "Single signings on an idle service: share answered within a time", XLabel: "ms", YLabel: "%",
		Series: []Series{{"one at a time", distribution(all)}}})
	return nil
}

// distribution is which share, in per cent, of the samples is not above each of some values.
func distribution(samples []float64) []Point {
	points := []Point{{0, 0}}
	for q := 1; q <= 100; q++ {
		points = append(points, Point{quantile(samples, float64(q)/100), float64(q)})
	}
	return points
}

// gain is the experiment: the same number of pairs one after the other, 64 at once and in bulk, in every round.
func (s *session) gain(ctx context.Context) error {
	few, many, bulk := 500, 5_000, s.Pairs
	if s.Quick {
		few, many = 10, 64
	}
	p, c, err := s.readied(ctx, (few+many+bulk)*(s.Warmup+s.Rounds))
	if err != nil {
		return err
	}
	var one, parallel, inBulk []float64
	err = s.rounds(ctx, func(record bool) error {
		if err := c.round(ctx, s, record); err != nil {
			return err
		}
		serial, err := s.signFresh(ctx, p, few, 1)
		if err != nil {
			return err
		}
		at64, err := s.signFresh(ctx, p, many, 64)
		if err != nil {
			return err
		}
		b, err := p.unsent(bulk)
		if err != nil {
			return err
		}
		s.settle(ctx)
		u, err := s.uploadOnce(ctx, b)
		if err != nil || !record {
			return err
		}
		one, parallel, inBulk = append(one, serial.rate()), append(parallel, at64.rate()), append(inBulk, float64(bulk)/u.done.Seconds())
		return nil
	})
	if err != nil {
		return err
	}
	group, r := "What bulk gains, RSA-2048", s.report
	ids := append(c.report(r, "gain", group), "gain.one", "gain.64", "gain.bulk")
	for _, f := range []struct {
		id, title string
		samples   []float64
	}{
		{"one", "one pair a request, one after the other", one},
		{"64", "one pair a request, 64 at once", parallel},
		{"bulk", fmt.Sprintf("one upload of %s pairs", number(float64(bulk))), inBulk},
	} {
		r.add(Figure{ID: "gain." + f.id, Group: group, Title: f.title, Unit: "/s", Samples: f.samples, Beside: ids})
	}
	r.add(Figure{ID: "gain.over-one", Group: group, Title: "bulk over one after the other", Unit: "×", Samples: ratios(inBulk, one), Beside: ids})
	r.add(Figure{ID: "gain.over-64", Group: group, Title: "bulk over 64 at once", Unit: "×", Samples: ratios(inBulk, parallel), Beside: ids})
	return nil
}
