// Package health tells whether a process can do its work, by asking its parts once a second and never trusting one to
// answer.
//
// It must not know any other package of this module.
package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Check asks one part.
type Check struct {
	// Name begins the reason, and is the label of the metric: a few letters, such as "log".
	Name string
	// Probe returns nil when the part can do its work, and otherwise a sentence for the operator. ctx bounds it; a
	// Probe that doesn't return when ctx ends is a failure, too, and isn't called again before it has returned. Calls
	// of one Probe don't overlap.
	Probe func(ctx context.Context) error
	// Patience is how long failures may go on before they count, from the moment at which the first one that failed was
	// asked. 0: the first one counts.
	Patience time.Duration
}

// Config of a Board.
type Config struct {
	// Checks are asked in parallel. Of several with one name the last one counts: a part that knows more replaces the
	// check of one that knows less.
	Checks []Check
	// Every is how often. A check that never said yes yet is asked sooner, so that a start isn't slowed down. Default:
	// a second.
	Every time.Duration
	// Timeout bounds one probe. Default: 5 s.
	Timeout time.Duration
	// Clock measures patience. Default: time.Now.
	Clock func() time.Time
	// Logger gets a warning when a check begins to fail, and a line when it is well again. A check that never said yes
	// is given five seconds. nil: nobody is told.
	Logger *slog.Logger
	// Registerer gets gauge countersign_ready by check, 1 or 0. nil: not registered.
	Registerer prometheus.Registerer
}

func (c Config) withDefaults() Config {
	if c.Every <= 0 {
		c.Every = time.Second
	}
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Checks = lastOfEachName(c.Checks)
	return c
}

// lastOfEachName leaves out checks whose name comes again.
func lastOfEachName(checks []Check) (kept []Check) {
	for i, c := range checks {
		again := func(other Check) bool { return other.Name == c.Name }
		if !slices.ContainsFunc(checks[i+1:], again) {
			kept = append(kept, c)
		}
	}
	return kept
}

// Board keeps what the checks said last. It is safe for concurrent use.
type Board struct {
	cfg   Config
	ready *prometheus.GaugeVec

	mu      sync.Mutex
	states  []state       // by check; guarded by mu
	changed chan struct{} // closed, and replaced, when a reason comes or goes; guarded by mu
}

// state is what is known of one check.
type state struct {
	asked  bool      // it has answered, or failed to, at least once
	well   bool      // it has said yes at least once
	reason string    // empty: all is well
	since  time.Time // when the first of the failures in a row was asked; zero while all is well
	logged bool      // the log has a warning about them
}

// New makes a board on which every check is a reason until it was asked. Run asks.
func New(cfg Config) *Board {
	cfg = cfg.withDefaults()
	b := &Board{cfg: cfg, states: make([]state, len(cfg.Checks)), changed: make(chan struct{})}
	b.ready = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "countersign_ready", Help: "1 where the check says that the process can do its work, 0 where /readyz names it.",
	}, []string{"check"})
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(b.ready)
	}
	for _, c := range cfg.Checks {
		b.ready.WithLabelValues(c.Name).Set(0)
	}
	return b
}

// Run asks until ctx ends, and returns when no probe is under way.
func (b *Board) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for i := range b.cfg.Checks {
		wg.Go(func() { b.keepAsking(ctx, i) })
	}
	wg.Wait()
}

const (
	// firstPause lies between the first two questions to a check that never said yes. It doubles up to Config.Every.
	firstPause = 20 * time.Millisecond
	// quietStart is how long a check that never said yes may fail before the log has a warning: parts need a moment.
	quietStart = 5 * time.Second
)

func (b *Board) keepAsking(ctx context.Context, i int) {
	for pause := min(firstPause, b.cfg.Every); ctx.Err() == nil && !b.well(i); pause = min(2*pause, b.cfg.Every) {
		b.ask(ctx, i)
		if b.well(i) {
			break
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	ticker := time.NewTicker(b.cfg.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			b.ask(ctx, i)
		case <-ctx.Done():
			return
		}
	}
}

// well reports whether a check has said yes at least once.
func (b *Board) well(i int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.states[i].well
}

// ask calls a probe, notes at its time-out that it hangs, and returns when it has returned.
func (b *Board) ask(ctx context.Context, i int) {
	check := b.cfg.Checks[i]
	probing, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	began := b.cfg.Clock()
	answer := make(chan error, 1)
	go func() { answer <- check.Probe(probing) }()
	select {
	case err := <-answer:
		b.note(ctx, i, began, err)
		return
	case <-probing.Done():
	}
	select {
	case err := <-answer: // it took the whole time, and has an answer all the same
		b.note(ctx, i, began, err)
	default:
		b.note(ctx, i, began, fmt.Errorf("no answer within %s", b.cfg.Timeout))
		b.note(ctx, i, began, <-answer)
	}
}

// note keeps what a check that was asked at a moment answered.
func (b *Board) note(ctx context.Context, i int, began time.Time, err error) {
	if ctx.Err() != nil {
		return // the process is stopping: what fails now says nothing
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s, name := &b.states[i], b.cfg.Checks[i].Name
	if err == nil {
		if s.logged {
			b.cfg.Logger.Info("ready again", "check", name)
		}
		if s.reason != "" || !s.asked {
			b.tell()
		}
		*s = state{asked: true, well: true}
		b.ready.WithLabelValues(name).Set(1)
		return
	}
	now := b.cfg.Clock()
	if s.since.IsZero() {
		s.since = began
	}
	if s.asked && now.Sub(s.since) < b.cfg.Checks[i].Patience {
		return
	}
	if !s.logged && (s.well || now.Sub(s.since) >= quietStart) {
		s.logged = true
		b.cfg.Logger.Warn("not ready", "check", name, "error", err)
	}
	if s.reason == "" {
		b.tell()
	}
	s.asked, s.reason = true, oneLine(err.Error())
	b.ready.WithLabelValues(name).Set(0)
}

// tell wakes those who wait for readiness. The caller holds mu, and has changed the state before it gives mu back.
func (b *Board) tell() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// oneLine keeps a reason to the line that it has on /readyz.
func oneLine(reason string) string { return strings.Join(strings.Fields(reason), " ") }

// AwaitReady returns nil when no check gives a reason, or the error of ctx.
func (b *Board) AwaitReady(ctx context.Context) error {
	for {
		b.mu.Lock()
		changed := b.changed
		b.mu.Unlock()
		if len(b.Reasons()) == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Reasons says why the process isn't ready, one sentence a check, in the order of the checks; nil when it is.
func (b *Board) Reasons() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var reasons []string
	for i, s := range b.states {
		name := b.cfg.Checks[i].Name
		switch {
		case !s.asked && s.reason == "":
			reasons = append(reasons, name+": not asked yet")
		case s.reason != "":
			reasons = append(reasons, name+": "+s.reason)
		}
	}
	return reasons
}

// Failing says why the check of a name fails; nil: it doesn't, or was not asked yet, or there is none.
func (b *Board) Failing(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, s := range b.states {
		if b.cfg.Checks[i].Name == name && s.reason != "" {
			return errors.New(s.reason)
		}
	}
	return nil
}
