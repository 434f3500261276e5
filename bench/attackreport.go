package bench

// What the attacks come to: a table of what the honest user saw, one of what the attackers were answered, and figures.

import (
	"fmt"
	"strings"
	"time"
)

// publish puts the tables and their sums into the report.
func (a *siege) publish() {
	seen := &Table{
		Title: "An honest user under attack: median and 99th percentile, from the intended start to the result",
		Head:  []string{"beside", "uploads, ms", "signings, ms", "429", "408, 503, 504", "errors", "service, engine, MiB", "log, MiB", "bounds"},
	}
	answers := &Table{Title: "What the attackers were answered", Head: []string{"attack", "answers by status", "lost", "accepted", "generator, %"}}
	missed := 0
	for _, s := range a.stands {
		up, single, t := speedOf(s.usage.uploads), speedOf(s.usage.signings), s.usage.tally()
		title := s.title
		if s.own {
			title += ", own address"
		}
		verdict := "PASS"
		if misses := a.misses(s); len(misses) > 0 {
			verdict = "FAIL: " + strings.Join(misses, "; ")
			missed++
		}
		seen.Rows = append(seen.Rows, []string{title, two(up.median, up.p99), two(single.median, single.p99), fmt.Sprint(t.shared), fmt.Sprint(t.refused),
			fmt.Sprint(t.failed + t.unanswered), two(s.memory.peak(), s.engine()), number(s.log.written), verdict})
		for _, f := range s.fronts {
			answers.Rows = append(answers.Rows, []string{title + f.part(s), f.answers(), number(float64(f.lost)),
				fmt.Sprintf("%s, %s MiB", number(float64(f.uploads)), number(float64(f.bytes)/mebibyte)), number(100 * s.generator)})
		}
	}
	r := a.session.report
	r.Tables = append(r.Tables, seen, answers)
	r.Charts = append(r.Charts, &Chart{
		Title: "An honest user under attack: time to the result, by intended start", XLabel: "s", YLabel: "ms",
		Series: []Series{
			{"uploads", a.overTime(a.uploadEvery, func(u usage) []sample { return u.uploads })},
			{"signings", a.overTime(a.signEvery, func(u usage) []sample { return u.signings })},
		},
	})
	a.figures(missed)
}

// overTime is how long an honest user's uploads or signings took over when they should have begun.
func (a *siege) overTime(every time.Duration, of func(usage) []sample) []Point {
	var points []Point
	for _, s := range a.stands {
		since := s.begun.Sub(a.stands[0].begun).Seconds()
		for i, one := range of(s.usage) {
			if one.took > 0 {
				points = append(points, Point{since + float64(i)*every.Seconds(), milliseconds(one.took)})
			}
		}
	}
	return points
}

// part names an attack that was one of several.
func (f *front) part(s *stand) string {
	if len(s.fronts) == 1 {
		return ""
	}
	return ": " + f.title
}

// figures puts what the tables come to into the report.
func (a *siege) figures(missed int) {
	r, group := a.session.report, "An honest user under attack"
	figure := func(id, title, unit string, value float64, target *Target) {
		r.add(Figure{ID: "attack." + id, Group: group, Title: title, Unit: unit, Samples: []float64{value}, Target: target})
	}
	timed := func(t *Target) *Target {
		if a.Quick {
			return nil
		}
		return t
	}
	var own, engine, log, written, accepted float64
	var worstUp, worstSingle speed
	var t honestTally
	unsettled := 0
	for _, s := range a.stands {
		own, engine, log = max(own, s.memory.peak()), max(engine, s.engine()), max(log, s.log.held)
		written += s.log.written * mebibyte
		for _, u := range s.usage.uploads {
			accepted += float64(u.bytes)
		}
		for _, f := range s.fronts {
			accepted += float64(f.bytes)
			t.wrong += len(f.wrong)
		}
		mine := s.usage.tally()
		t.wrong += mine.wrong
		t.failed += mine.failed + mine.unanswered
		if s.unsettled != nil {
			unsettled++
		}
		if !s.own || s.bounded {
			t.refused += mine.refused + mine.shared
		}
		if s.bounded {
			worstUp, worstSingle = worstUp.worse(speedOf(s.usage.uploads)), worstSingle.worse(speedOf(s.usage.signings))
		}
	}
	quiet := a.stands[0].usage
	for _, f := range []struct {
		id, title    string
		quiet, worst speed
	}{{"upload", "uploads", speedOf(quiet.uploads), worstUp}, {"signing", "signings", speedOf(quiet.signings), worstSingle}} {
		most := f.quiet.most()
		figure(f.id+".quiet", f.title+", quiet, median", "ms", f.quiet.median, nil)
		figure(f.id+".quiet-p99", f.title+", quiet, 99th percentile", "ms", f.quiet.p99, nil)
		figure(f.id+".median", f.title+", the worst median beside an attack", "ms", f.worst.median, timed(atMost(most.median, 0)))
		figure(f.id+".p99", f.title+", the worst 99th percentile beside an attack", "ms", f.worst.p99, timed(atMost(most.p99, 0)))
	}
	figure("wrong", "wrong results and replies", "", float64(t.wrong), atMost(0, 0))
	figure("errors", "errors that the honest user got", "", float64(t.failed), atMost(0, 0))
	figure("unsettled", "attacks of which an accepted upload got no result", "", float64(unsettled), atMost(0, 0))
	figure("refused", "times that he was asked to come again, from an address of his own", "", float64(t.refused), timed(atMost(0, 0)))
	figure("missed", "rows of the table below whose bounds were not kept", "", float64(missed), timed(atMost(0, 0)))
	figure("memory-most", "resident memory of the service, most", "MiB", own, atMost(ownMost, 0))
	figure("memory-engine", "resident memory of the engine's process, most", "MiB", engine, atMost(engineMost, 0))
	figure("log-most", "the log, most", "MiB", log, atMost(logMost, 0))
	figure("log-written", "bytes on the log for each byte of accepted bodies, decoded", "", written/accepted, timed(atMost(logFactor, 0)))
}

// worse is the slower of two, each for itself.
func (s speed) worse(than speed) speed {
	return speed{max(s.median, than.median), max(s.p99, than.p99)}
}

func two(a, b float64) string { return number(a) + ", " + number(b) }
