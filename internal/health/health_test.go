package health

import (
	"context"
	"errors"
	"slices"
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

func TestOnlyNamedChecksCount(t *testing.T) {
	b := New(Config{Checks: []Check{{Name: "log"}, {Name: "store"}}})
	want(t, b.Reasons("store"), "store: not asked yet")
}
