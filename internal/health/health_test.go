package health

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// run starts a board over probes, and gives the synctest bubble's way to look at it after some time.
func run(t *testing.T, checks ...Check) (after func(time.Duration) []string) {
	b := New(Config{Checks: checks})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return func(d time.Duration) []string {
		time.Sleep(d)
		synctest.Wait()
		return b.Reasons()
	}
}

// switchable is a probe whose answer a test changes.
type switchable struct{ err atomic.Pointer[error] }

func (s *switchable) set(err error) { s.err.Store(&err) }

func (s *switchable) probe(context.Context) error {
	if err := s.err.Load(); err != nil {
		return *err
	}
	return nil
}

func want(t *testing.T, got []string, reasons ...string) {
	t.Helper()
	if !slices.Equal(got, reasons) {
		t.Errorf("reasons are %q, want %q", got, reasons)
	}
}

func TestBoardSaysWhatItsChecksSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var part switchable
		after := run(t,
			Check{Name: "log", Probe: part.probe},
			Check{Name: "store", Probe: func(context.Context) error { return nil }})
		want(t, after(0))
		part.set(errors.New("the disk is full"))
		want(t, after(time.Second+time.Millisecond), "log: the disk is full")
		part.set(nil)
		want(t, after(time.Second))
	})
}

func TestAPartThatHasNotBeenAskedIsNotReady(t *testing.T) {
	want(t, New(Config{Checks: []Check{{Name: "log"}}}).Reasons(), "log: not asked yet")
}

func TestAProbeThatHangsIsAReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		var calls atomic.Int32
		after := run(t, Check{Name: "store", Probe: func(context.Context) error {
			if calls.Add(1) == 2 {
				<-hang // whatever its context says
			}
			return nil
		}})
		want(t, after(0))
		want(t, after(5*time.Second))
		want(t, after(1100*time.Millisecond), "store: no answer within 5s")
		want(t, after(time.Hour), "store: no answer within 5s")
		if n := calls.Load(); n != 2 {
			t.Errorf("it was called %d times", n)
		}
		close(hang)
		want(t, after(0))
	})
}

func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var part switchable
		after := run(t, Check{Name: "certs", Patience: 10 * time.Second, Probe: part.probe})
		want(t, after(500*time.Millisecond))
		part.set(errors.New("gone"))
		want(t, after(9*time.Second))
		want(t, after(3*time.Second), "certs: gone")
	})
}

// A probe that needed longer than the patience to fail has used it up.
func TestPatienceBeginsWithTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		after := run(t, Check{Name: "store", Patience: 3 * time.Second, Probe: func(ctx context.Context) error {
			if !slow.Load() {
				return nil
			}
			<-ctx.Done()
			return errors.New("silent")
		}})
		want(t, after(500*time.Millisecond))
		slow.Store(true)
		want(t, after(5*time.Second))
		want(t, after(time.Second), "store: silent")
	})
}

// Readiness wants every check to have said yes. Who acts on one check alone wants to know that it has failed.
func TestACheckFailsOnceItWasAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probe := func(context.Context) error { return errors.New("no room") }
		well := func(context.Context) error { return nil }
		b := New(Config{Checks: []Check{{Name: "log", Probe: well}, {Name: "disk", Probe: probe}}})
		if err := b.Failing("disk"); err != nil {
			t.Errorf("before it was asked: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { b.Run(ctx); close(done) }()
		synctest.Wait()
		if err := b.Failing("disk"); err == nil || err.Error() != "no room" {
			t.Error(err)
		}
		if log, other := b.Failing("log"), b.Failing("other"); log != nil || other != nil {
			t.Error(log, other)
		}
		cancel()
		<-done
	})
}

func TestAwaitReadyWaitsForEveryCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log, store switchable
		log.set(errors.New("away"))
		store.set(errors.New("away"))
		b := New(Config{Checks: []Check{{Name: "log", Probe: log.probe}, {Name: "store", Probe: store.probe}}})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { b.Run(ctx) })
		defer wg.Wait()
		defer cancel()
		var ready atomic.Bool
		wg.Go(func() { ready.Store(b.AwaitReady(ctx) == nil) })
		log.set(nil)
		time.Sleep(time.Hour)
		if ready.Load() {
			t.Error("ready without the store")
		}
		store.set(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if !ready.Load() {
			t.Error("not ready, though all is well")
		}
		store.set(errors.New("away"))
		time.Sleep(time.Second)
		synctest.Wait()
		short, end := context.WithTimeout(ctx, time.Minute)
		defer end()
		if err := b.AwaitReady(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while the store is away: %v", err)
		}
	})
}

// A part that isn't there yet when the board starts doesn't cost a whole second.
func TestAStartIsNotSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var part switchable
		part.set(errors.New("starting"))
		after := run(t, Check{Name: "events", Probe: part.probe})
		want(t, after(10*time.Millisecond), "events: starting")
		part.set(nil)
		want(t, after(firstPause))
	})
}

func TestOfOneNameTheLastCheckCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		says := func(text string) func(context.Context) error {
			return func(context.Context) error { return errors.New(text) }
		}
		after := run(t, Check{Name: "log", Probe: says("less")}, Check{Name: "store", Probe: says("away")}, Check{Name: "log", Probe: says("more")})
		want(t, after(time.Second), "store: away", "log: more")
	})
}

func TestAReasonIsOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		after := run(t, Check{Name: "log", Probe: func(context.Context) error { return errors.Join(errors.New("one"), errors.New("two")) }})
		want(t, after(time.Second), "log: one two")
	})
}

// The log has one line for each time that a check begins to fail, and one for its end.
func TestChangesAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var part switchable
		var said bytes.Buffer // written by the only check's goroutine
		plain := func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
		b := New(Config{
			Checks: []Check{{Name: "log", Probe: part.probe}},
			Logger: slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{ReplaceAttr: plain})),
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); b.Run(ctx) }()
		for _, err := range []error{errors.New("starting"), nil, errors.New("away"), errors.New("still away"), nil, nil} {
			part.set(err)
			time.Sleep(quietStart - time.Second)
		}
		cancel()
		<-done
		const lines = "level=WARN msg=\"not ready\" check=log error=away\nlevel=INFO msg=\"ready again\" check=log\n"
		if said.String() != lines {
			t.Errorf("it said\n%s", said.String())
		}
	})
}
