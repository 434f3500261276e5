package bench

// What must hold for the honest user, and the table that says whether it did.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The bounds. Latencies are compared with those of the same user when nothing else was sent.
const (
	medianFactor = 2.0  // the median may be so many times the quiet one
	medianMore   = 50.0 // or so many milliseconds more
	p99More      = 500.0
	ownMost      = 1024.0 // MiB of the service's process: --memory-limit, and what is beside Go's heap
	engineMost   = 4096.0 // MiB of the engine's process: --engine-memory
	logFactor    = 3.0    // bytes on the log for each byte of bodies: a pair is there for verify, and for the sink
	logMost      = 3072.0 // MiB of the log: --log-max, and what is kept of each partition all the same

	attackLogMax = "--log-max=2GiB"
)

// logSize is what is on the embedded log, and what was written to it, in MiB.
type logSize struct{ held, written float64 }

func (s *server) logSize(ctx context.Context) (logSize, error) {
	m, err := s.metrics(ctx)
	held := m["countersign_log_bytes"] / mebibyte
	return logSize{held, held + m["countersign_log_deleted_early_bytes_total"]/mebibyte}, err
}

// since is how much more was written.
func (l logSize) since(before logSize) logSize { return logSize{l.held, l.written - before.written} }

// latencies are of the samples that have a result, in milliseconds.
func latencies(samples []sample) []float64 {
	var all []float64
	for _, s := range samples {
		if s.took > 0 {
			all = append(all, milliseconds(s.took))
		}
	}
	return all
}

// speed is the middle and the tail of latencies, in milliseconds.
type speed struct{ median, p99 float64 }

func speedOf(samples []sample) speed {
	all := latencies(samples)
	return speed{median(all), quantile(all, 0.99)}
}

// most is the speed that is just good enough beside a quiet one.
func (s speed) most() speed {
	return speed{max(medianFactor*s.median, s.median+medianMore), s.p99 + p99More}
}

// exceeds says what of s is above its bound.
func (s speed) exceeds(quiet speed, what string) (misses []string) {
	most := quiet.most()
	if !(s.median <= most.median) {
		misses = append(misses, fmt.Sprintf("%s median %s ms > %s", what, number(s.median), number(most.median)))
	}
	if !(s.p99 <= most.p99) {
		misses = append(misses, fmt.Sprintf("%s p99 %s ms > %s", what, number(s.p99), number(most.p99)))
	}
	return misses
}

// honestTally is what the honest user was answered.
type honestTally struct {
	shared, refused, failed, unanswered, wrong int
	first                                      error // of those that an honest user shouldn't get
}

func (u usage) tally() (t honestTally) {
	for _, s := range u.all() {
		t.shared += s.shared
		t.refused += len(s.refusals)
		t.failed += len(s.failures)
		if s.wrong != nil {
			t.wrong++
		} else if s.took == 0 {
			t.unanswered++
		}
		for _, err := range append(append([]error{s.wrong}, s.failures...), s.refusals...) {
			if t.first == nil {
				t.first = err
			}
		}
	}
	return t
}

// connect is the longest time that a connection took to be made.
func (u usage) connect() (slowest time.Duration) {
	for _, s := range u.all() {
		slowest = max(slowest, s.connect)
	}
	return slowest
}

// misses says which bounds a stand didn't keep. Those of time are left out of a quick session.
func (a *siege) misses(s *stand) (misses []string) {
	miss := func(bad bool, format string, args ...any) {
		if bad {
			misses = append(misses, fmt.Sprintf(format, args...))
		}
	}
	t, strict := s.usage.tally(), !s.own || s.bounded
	miss(t.wrong > 0, "%d wrong results", t.wrong)
	miss(t.failed > 0, "%d errors", t.failed)
	miss(t.unanswered > 0, "%d without a result", t.unanswered)
	for _, f := range s.fronts {
		for _, w := range f.wrong {
			miss(true, "%s", w)
		}
	}
	miss(s.unsettled != nil, "an attacker's upload has no result: %v", s.unsettled)
	miss(s.memory.peak() > ownMost, "service %s MiB > %s", number(s.memory.peak()), number(ownMost))
	miss(s.engine() > engineMost, "engine %s MiB > %s", number(s.engine()), number(engineMost))
	miss(s.log.held > logMost, "log %s MiB > %s", number(s.log.held), number(logMost))
	miss(strict && t.shared > 0, "%d answers with 429", t.shared)
	if a.Quick {
		return misses
	}
	miss(strict && t.refused > 0, "%d answers with 408, 503 or 504", t.refused)
	if quiet := a.stands[0].usage; s.bounded {
		misses = append(misses, speedOf(s.usage.uploads).exceeds(speedOf(quiet.uploads), "uploads")...)
		misses = append(misses, speedOf(s.usage.signings).exceeds(speedOf(quiet.signings), "signings")...)
	}
	return misses
}

func (s *stand) engine() float64 { return summarize(heights(s.memory.Children)).Max }

// String is a stand in a line.
func (s *stand) String() string {
	var line strings.Builder
	up, single, t := speedOf(s.usage.uploads), speedOf(s.usage.signings), s.usage.tally()
	fmt.Fprintf(&line, "uploads %s ms, signings %s ms (median, p99)", two(up.median, up.p99), two(single.median, single.p99))
	if slowest := s.usage.connect(); slowest >= time.Second {
		fmt.Fprintf(&line, ", a connection took %s", slowest.Round(time.Millisecond))
	}
	for _, n := range []struct {
		count int
		what  string
	}{{t.shared, "429"}, {t.refused, "408, 503 or 504"}, {t.failed, "errors"}, {t.unanswered, "without a result"}, {t.wrong, "WRONG"}} {
		if n.count > 0 {
			fmt.Fprintf(&line, ", %d %s", n.count, n.what)
		}
	}
	if t.first != nil {
		fmt.Fprintf(&line, " (%v)", t.first)
	}
	for _, f := range s.fronts {
		fmt.Fprintf(&line, "; %s: %s", f.name, f.answers())
		if f.lost > 0 {
			fmt.Fprintf(&line, ", %d lost (%v)", f.lost, f.firstLost)
		}
	}
	return line.String()
}

// wrong is an error if anybody got a wrong result, or none.
func (a *siege) wrong() error {
	var all []error
	for _, s := range a.stands {
		for _, x := range s.usage.all() {
			if x.wrong != nil {
				all = append(all, fmt.Errorf("%s: %w", s.title, x.wrong))
			}
		}
		for _, f := range s.fronts {
			for _, w := range f.wrong {
				all = append(all, fmt.Errorf("%s: %s", s.title, w))
			}
		}
	}
	return errors.Join(all...)
}
