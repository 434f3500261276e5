package bench

// Uploads in parallel for a while, with the service's memory watched.

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// stretch is one sustained load with what ran beside it.
type stretch struct {
	loaded
	memory    memory
	generator float64 // share of the cores that this process used
}

// sustained is the experiment.
func (s *session) sustained(ctx context.Context) error {
	_, c, result, err := s.sustain(ctx, nil)
	if err != nil {
		return err
	}
	s.reportStretch(c, result, "sustained", fmt.Sprintf("Sustained, %d uploads of %s RSA-2048 pairs at a time for %s",
		s.Concurrency, number(float64(s.Pairs)), s.Duration))
	return nil
}

// sustain runs the load between two rounds of the contest, since what runs beside it can't run at the same time.
// prepare, unless nil, is called on the service when it has nothing stored.
func (s *session) sustain(ctx context.Context, prepare func(context.Context) error) (*pool, *contest, *stretch, error) {
	p, c, err := s.readied(ctx, 2*s.Concurrency*s.Pairs)
	if err != nil {
		return nil, nil, nil, err
	}
	if prepare != nil {
		if err := prepare(ctx); err != nil {
			return nil, nil, nil, err
		}
	}
	need, err := s.calibrate(ctx, p)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := s.ensure(ctx, p, need); err != nil {
		return nil, nil, nil, err
	}
	s.settle(ctx) // merges must not slow down what ours is compared with
	if err := c.round(ctx, s, true); err != nil {
		return nil, nil, nil, err
	}
	s.settle(ctx)
	result, err := s.stretch(ctx, load{workers: s.Concurrency, during: s.Duration}, func() (*body, error) { return p.unsent(s.Pairs) })
	if err != nil {
		return nil, nil, nil, err
	}
	s.settle(ctx)
	return p, c, result, c.round(ctx, s, true)
}

// calibrate estimates how many pairs the load will take, from a few uploads, which warm the service up as well.
func (s *session) calibrate(ctx context.Context, p *pool) (int, error) {
	const headroom = 1.5
	l, err := load{workers: s.Concurrency, count: 2 * s.Concurrency}.run(ctx, s.server, func() (*body, error) { return p.unsent(s.Pairs) })
	if err != nil {
		return 0, err
	}
	need := int(l.rate()*s.Duration.Seconds()*headroom) + 2*s.Concurrency*s.Pairs
	return min(need, p.room()), nil
}

// stretch runs a load with the memory watched.
func (s *session) stretch(ctx context.Context, l load, next func() (*body, error)) (*stretch, error) {
	before, start := cpuSeconds(), time.Now()
	every := time.Second
	if s.Quick {
		every = 50 * time.Millisecond
	}
	stop := s.server.watch(ctx, every)
	result, err := l.run(ctx, s.server, next)
	seen := stop()
	if err != nil {
		return nil, err
	}
	if result.short {
		s.report.note("The signed pairs were used up before the load's time was over; its figures are of the time until then. Raise --data-limit.")
	}
	if n := result.refused(); n > 0 {
		s.report.note("The service refused uploads %d times under load (503, Retry-After), and they were sent again.", n)
	}
	cores := float64(s.report.Machine.Cores)
	return &stretch{result, seen, (cpuSeconds() - before) / time.Since(start).Seconds() / cores}, nil
}

// cpuSeconds is what this process has used.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

func (s *session) reportStretch(c *contest, t *stretch, prefix, group string) {
	r := s.report
	ids := c.report(r, prefix, group)
	rate := t.rate()
	r.add(Figure{ID: prefix + ".rate", Group: group, Title: "hashes a second", Unit: "/s", Samples: []float64{rate}, Beside: ids})
	r.add(Figure{ID: prefix + ".seconds", Group: group, Title: "over", Unit: "s", Samples: []float64{t.took.Seconds()}})
	c.over(r, Figure{ID: prefix + ".over-openssl", Group: group, Title: "hashes over openssl's verifications", Target: atLeast(1, 2), Beside: ids},
		ratios([]float64{rate}, []float64{summarize(c.openssl).Median}))
	r.add(Figure{ID: prefix + ".over-go", Group: group, Title: "hashes over Go's verifications", Unit: "×", Samples: []float64{rate / summarize(c.std).Median}, Beside: ids})
	latencies := t.latencies()
	r.add(Figure{ID: prefix + ".latency", Group: group, Title: "one upload's time, median", Unit: "s", Samples: []float64{median(latencies)}})
	r.add(Figure{ID: prefix + ".latency-p99", Group: group, Title: "one upload's time, 99th percentile", Unit: "s", Samples: []float64{quantile(latencies, 0.99)}})
	r.add(Figure{ID: prefix + ".generator", Group: group, Title: "share of the cores that the load generator used", Unit: "%", Samples: []float64{100 * t.generator}})
	s.reportMemory(t.memory, prefix, group)
	r.Charts = append(r.Charts, &Chart{Title: group + ": hashes done", XLabel: "s", YLabel: "hashes", Series: []Series{{"done", t.cumulative()}}})
}

// reportMemory adds the figures of the service's resident memory over a load.
func (s *session) reportMemory(m memory, prefix, group string) {
	r := s.report
	if len(m.Own) == 0 {
		r.add(Figure{ID: prefix + ".memory-most", Group: group, Title: "resident memory of the service", Unit: "MiB",
			Missing: "the service's admin address is not known; give it with --admin"})
		return
	}
	own := summarize(heights(m.Own))
	// The heap finds its size in the first half.
	later := m.Own[len(m.Own)/2:]
	minutes := make([]Point, len(later))
	for i, p := range later {
		minutes[i] = Point{p.X / 60, p.Y}
	}
	r.add(Figure{ID: prefix + ".memory-most", Group: group, Title: "resident memory of the service, most", Unit: "MiB", Samples: []float64{own.Max}, Target: atMost(768, 400)})
	r.add(Figure{ID: prefix + ".memory-least", Group: group, Title: "the same, least", Unit: "MiB", Samples: []float64{own.Min}})
	r.add(Figure{ID: prefix + ".memory-slope", Group: group, Title: "the same, growth over the second half", Unit: "MiB/min", Samples: []float64{slope(minutes)}})
	series := []Series{{"service", m.Own}}
	if children := summarize(heights(m.Children)); children.Max > 0 {
		r.add(Figure{ID: prefix + ".memory-engine", Group: group, Title: "resident memory of the engine's process, most", Unit: "MiB", Samples: []float64{children.Max}})
		series = append(series, Series{"engine", m.Children})
	}
	r.Charts = append(r.Charts, &Chart{Title: group + ": resident memory", XLabel: "s", YLabel: "MiB", Series: series})
}
