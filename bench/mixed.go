package bench

// A load of the user's own: kinds of keys, sites, bad and repeated pairs, closed or open loop.

import (
	"context"
	"fmt"
)

// mixedSites is where a load's uploads come from, in turns.
type mixedSites struct {
	turns []*pool       // each pool as often as its weight says
	known map[*pool]mix // by pool: what to take duplicates from
	next  int
}

// mostKnown is how many pairs of each site are uploaded beforehand for duplicates to be taken from.
const mostKnown = 10_000

// mixedLoad is the experiment.
func (s *session) mixedLoad(ctx context.Context) error {
	m, contests, err := s.mixedSites(ctx)
	if err != nil {
		return err
	}
	need, err := s.mixedNeed(ctx, m)
	if err != nil {
		return err
	}
	for p := range m.known {
		if err := s.ensure(ctx, p, need[p]); err != nil {
			return err
		}
	}
	for _, c := range contests {
		if err := c.round(ctx, s, true); err != nil {
			return err
		}
	}
	s.settle(ctx)
	workers := s.Concurrency
	if s.Rate > 0 {
		workers = mostOpen
	}
	t, err := s.stretch(ctx, load{workers: workers, rate: s.Rate, during: s.Duration}, func() (*body, error) { return m.body(s.Pairs) })
	if err != nil {
		return err
	}
	for _, c := range contests {
		if err := c.round(ctx, s, true); err != nil {
			return err
		}
	}
	s.reportMixed(contests, t)
	return nil
}

// mostOpen bounds the uploads in flight of an open loop: as many as the service takes. Those that arrive meanwhile
// wait, on the clock.
const mostOpen = 64

// mixedSites brings up the service and uploads what is known beforehand.
func (s *session) mixedSites(ctx context.Context) (*mixedSites, []*contest, error) {
	weights, err := s.weights()
	if err != nil {
		return nil, nil, err
	}
	if err := s.startEmpty(ctx); err != nil {
		return nil, nil, err
	}
	m := &mixedSites{known: make(map[*pool]mix)}
	var contests []*contest
	known := min(mostKnown, s.Pairs)
	for _, w := range weights {
		for number := range s.Sites {
			p, err := s.pool(w.algorithm, number)
			if err != nil {
				return nil, nil, err
			}
			if err := s.ensure(ctx, p, known); err != nil {
				return nil, nil, err
			}
			if err := p.ensureBad(ctx, known); err != nil {
				return nil, nil, err
			}
			if number == 0 {
				c, err := s.newContest(ctx, p)
				if err != nil {
					return nil, nil, err
				}
				contests = append(contests, c)
			}
			m.known[p] = mix{bad: s.Bad, duplicate: s.Duplicates, from: p.next, known: known}
			b, err := p.unsent(known)
			if err != nil {
				return nil, nil, err
			}
			if _, err := s.uploadOnce(ctx, b); err != nil {
				return nil, nil, err
			}
			for range w.weight {
				m.turns = append(m.turns, p)
			}
		}
	}
	return m, contests, nil
}

// body is the next upload's.
func (m *mixedSites) body(pairs int) (*body, error) {
	p := m.turns[m.next%len(m.turns)]
	m.next++
	return p.mixed(pairs, m.known[p])
}

// mixedNeed estimates how many new pairs of each site the load will take: from the rate of arrivals, or from some
// uploads.
func (s *session) mixedNeed(ctx context.Context, m *mixedSites) (map[*pool]int, error) {
	uploads := s.Rate*s.Duration.Seconds() + 1
	if s.Rate == 0 {
		for p := range m.known {
			if err := s.ensure(ctx, p, 2*s.Pairs); err != nil {
				return nil, err
			}
		}
		l, err := load{workers: 2, count: 2}.run(ctx, s.server, func() (*body, error) { return m.body(s.Pairs) })
		if err != nil {
			return nil, err
		}
		uploads = 1.5*l.rate()*s.Duration.Seconds()/float64(s.Pairs) + float64(2*s.Concurrency)
	}
	share := uploads / float64(len(m.turns))
	need := make(map[*pool]int)
	for _, p := range m.turns {
		need[p] += int((share + 1) * float64(s.Pairs) * (1 - s.Bad - s.Duplicates))
	}
	return need, nil
}

func (s *session) reportMixed(contests []*contest, t *stretch) {
	r := s.report
	shape := fmt.Sprintf("%d uploads at a time", s.Concurrency)
	if s.Rate > 0 {
		shape = number(s.Rate) + " uploads a second"
	}
	group := fmt.Sprintf("Load: %s, %s pairs each, of %s, %d sites a kind, %s %% bad, %s %% repeated, %s", shape, number(float64(s.Pairs)),
		s.Algorithms, s.Sites, number(100*s.Bad), number(100*s.Duplicates), s.Duration)
	var ids []string
	for _, c := range contests {
		ids = append(ids, c.report(r, "load."+c.name, group)...)
	}
	one := func(id, title, unit string, value float64) {
		r.add(Figure{ID: "load." + id, Group: group, Title: title, Unit: unit, Samples: []float64{value}, Beside: ids})
	}
	one("rate", "hashes a second", "/s", t.rate())
	one("uploads", "uploads", "", float64(len(t.uploads)))
	latencies := t.latencies()
	from := "one upload's time"
	if s.Rate > 0 {
		from += " from its intended start"
	}
	for _, q := range []struct {
		id, title string
		share     float64
	}{{"latency", "median", .5}, {"latency-p90", "90th percentile", .9}, {"latency-p99", "99th percentile", .99}, {"latency-most", "longest", 1}} {
		one(q.id, from+", "+q.title, "s", quantile(latencies, q.share))
	}
	one("refused", "times that the service asked to come back later", "", float64(t.refused()))
	one("generator", "share of the cores that the load generator used", "%", 100*t.generator)
	s.reportMemory(t.memory, "load", group)
	r.Charts = append(r.Charts,
		&Chart{Title: group + ": hashes done", XLabel: "s", YLabel: "hashes", Series: []Series{{"done", t.cumulative()}}},
		&Chart{Title: group + ": share of uploads that took no longer", XLabel: "s", YLabel: "%", Series: []Series{{from, distribution(latencies)}}},
		&Chart{Title: group + ": time of uploads by intended start", XLabel: "s", YLabel: "s", Series: []Series{{from, byStart(t.loaded)}}})
}

// byStart is how long uploads took over when they should have begun.
func byStart(l loaded) []Point {
	var points []Point
	for _, u := range l.uploads {
		points = append(points, Point{u.intended.Seconds(), u.latency().Seconds()})
	}
	sortPoints(points)
	return points
}
