package bench

// Two programs against each other, end to end: each has its own private service, both get the same pairs, in turns, and
// which of them is first alternates. The ratios are those of rounds.

import (
	"context"
	"errors"
)

// contender is one of the programs and what it did, by figure, by round.
type contender struct {
	name    string
	server  *server
	samples map[string][]float64
}

// compare is the session with Config.Against.
func (s *session) compare(ctx context.Context) (err error) {
	contenders := []*contender{{name: "base"}, {name: "head"}}
	defer func() {
		for _, c := range contenders {
			if c.server != nil {
				err = errors.Join(err, c.server.stop())
			}
		}
	}()
	var pools []*pool
	for _, name := range []string{"rsa2048", "p256"} {
		a, err := findAlgorithm(name)
		if err != nil {
			return err
		}
		p, err := s.pool(a, 0)
		if err != nil {
			return err
		}
		if err := s.ensure(ctx, p, (s.Pairs+s.signEach())*(s.Warmup+s.Rounds)); err != nil {
			return err
		}
		pools = append(pools, p)
	}
	for i, binary := range []string{s.Against, s.Binary} {
		s.say("starting %s", contenders[i].name)
		if contenders[i].server, err = s.start(ctx, binary); err != nil {
			return err
		}
		contenders[i].samples = make(map[string][]float64)
	}
	turn := 0
	err = s.rounds(ctx, func(record bool) error {
		turn++
		first, second := contenders[turn%2], contenders[1-turn%2]
		for _, p := range pools {
			if err := s.compareRound(ctx, p, record, first, second); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range pools {
		s.reportCompared(p.algorithm, contenders[0].samples, contenders[1].samples)
	}
	return nil
}

// signEach is how many single signings each gets in a round.
func (s *session) signEach() int {
	if s.Quick {
		return 64
	}
	return 4_000
}

// compareRound gives the same pairs to both.
func (s *session) compareRound(ctx context.Context, p *pool, record bool, contenders ...*contender) error {
	b, err := p.unsent(s.Pairs)
	if err != nil {
		return err
	}
	first, err := p.reserve(s.signEach())
	if err != nil {
		return err
	}
	pairs, err := p.texts(first, s.signEach())
	if err != nil {
		return err
	}
	for _, c := range contenders {
		values, err := s.compareTurn(ctx, c.server, p, b, pairs)
		if err != nil {
			return errors.Join(err, c.server.alive())
		}
		for figure, value := range values {
			if record {
				c.samples[p.name+figure] = append(c.samples[p.name+figure], value)
			}
		}
	}
	return nil
}

func (s *session) compareTurn(ctx context.Context, server *server, p *pool, b *body, pairs []textPair) (map[string]float64, error) {
	send := func(b *body) (uploaded, error) {
		s.settle(ctx)
		l, err := load{workers: 1, count: 1}.run(ctx, server, func() (*body, error) { return b, nil })
		if err != nil {
			return uploaded{}, err
		}
		return l.uploads[0].uploaded, nil
	}
	if err := server.engineRests(ctx); err != nil { // from the turn before
		return nil, err
	}
	before, err := server.engineTime()
	if err != nil {
		return nil, err
	}
	added, err := send(b)
	if err != nil {
		return nil, err
	}
	if err := server.engineRests(ctx); err != nil {
		return nil, err
	}
	after, err := server.engineTime()
	if err != nil {
		return nil, err
	}
	again, err := send(b.again())
	if err != nil {
		return nil, err
	}
	s.settle(ctx)
	singles, err := sign(ctx, server, p.site, pairs, 64)
	if err != nil {
		return nil, err
	}
	return map[string]float64{
		".time": added.done.Seconds(), ".reply": added.replied.Seconds(), ".again": again.done.Seconds(),
		".single": singles.took.Seconds() / float64(len(pairs)) * 1000,
		".engine": (after.sum() - before.sum()) / float64(s.Pairs) * 1e6,
	}, nil
}

// reportCompared adds both programs' figures and their ratios. All are times: a ratio above 1 says that head is the
// slower one.
func (s *session) reportCompared(a algorithm, base, head map[string][]float64) {
	group := "End to end, head beside base, " + a.title
	for _, f := range []struct{ id, title, unit string }{
		{".time", "upload of " + number(float64(s.Pairs)) + " pairs", "s"},
		{".reply", "reply to the POST", "s"},
		{".again", "the same again, all duplicates", "s"},
		{".single", "one single signing, 64 at once", "ms"},
		{".engine", "ClickHouse's processor time for a pair of the upload, merges finished", "µs"},
	} {
		id := "compare." + a.name + f.id
		beside := []string{id + ".base", id + ".head"}
		s.report.add(Figure{ID: beside[0], Group: group, Title: f.title + ", base", Unit: f.unit, Samples: base[a.name+f.id]})
		s.report.add(Figure{ID: beside[1], Group: group, Title: f.title + ", head", Unit: f.unit, Samples: head[a.name+f.id]})
		s.report.add(Figure{ID: id + ".ratio", Group: group, Title: f.title + ", head over base", Unit: "×",
			Samples: ratios(head[a.name+f.id], base[a.name+f.id]), Beside: beside})
	}
}
