package coalesce

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// store answers after a while: even keys have a value, ten times themselves.
type store struct {
	mu    sync.Mutex
	asked [][]int
	busy  int
	most  int
}

func (s *store) ask(ctx context.Context, keys []int) (map[int]int, error) {
	s.mu.Lock()
	s.asked = append(s.asked, slices.Clone(keys))
	s.busy++
	s.most = max(s.most, s.busy)
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.busy--; s.mu.Unlock() }()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	found := map[int]int{}
	for _, k := range keys {
		if k%2 == 0 {
			found[k] = 10 * k
		}
	}
	return found, nil
}

func group(s *store) *Group[int, int] {
	return New(Config[int, int]{Ask: s.ask, MaxKeys: 100, MaxConcurrent: 2, MaxWaiting: 1000, Timeout: time.Minute})
}

func TestManyQuestionsAreFewCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(store)
		g := group(s)
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() {
				v, found, err := g.Get(t.Context(), "somebody", i)
				if err != nil || found != (i%2 == 0) || found && v != 10*i {
					t.Errorf("key %d: %d, %t, %v", i, v, found, err)
				}
			})
		}
		wg.Wait()
		if s.most > 2 || len(s.asked) > 8 { // two with one key each, and five or six with the rest
			t.Errorf("%d calls, %d at once", len(s.asked), s.most)
		}
		if g.Waiting() != 0 {
			t.Errorf("%d wait", g.Waiting())
		}
	})
}

// An answer must be from a call that began after the question: what was stored in between would be missing otherwise.
func TestNoQuestionJoinsACallThatHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(store)
		g := group(s)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { _, _, _ = g.Get(t.Context(), "somebody", 7) })
			synctest.Wait()
		}
		wg.Wait()
		if len(s.asked) != 2 {
			t.Errorf("%d calls", len(s.asked))
		}
	})
}

func TestTooManyAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(store)
		g := group(s)
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() { _, _, _ = g.Get(t.Context(), "somebody", i) })
		}
		synctest.Wait()
		if _, _, err := g.Get(t.Context(), "somebody", 5000); !errors.Is(err, ErrFull) {
			t.Errorf("%v", err)
		}
		wg.Wait()
		if _, _, err := g.Get(t.Context(), "somebody", 5000); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestOneCallersPatienceIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := group(new(store))
		var wg sync.WaitGroup
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if _, _, err := g.Get(ctx, "somebody", 2); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the impatient one got %v", err)
			}
		})
		wg.Go(func() {
			if v, found, err := g.Get(t.Context(), "somebody", 2); v != 20 || !found || err != nil {
				t.Errorf("the patient one got %d, %t, %v", v, found, err)
			}
		})
		wg.Wait()
	})
}

func TestAFailureReachesEverybodyWhoAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Config[int, int]{
			Ask: new(store).ask, MaxKeys: 100, MaxConcurrent: 1, MaxWaiting: 10, Timeout: time.Millisecond,
		})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, _, err := g.Get(t.Context(), "somebody", 2); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
	})
}

// Close ends what callers gave up waiting for, and waits for it.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		g := New(Config[int, string]{
			Ask: func(ctx context.Context, _ []int) (map[int]string, error) {
				<-ctx.Done()
				ended = true
				return nil, ctx.Err()
			},
			MaxKeys: 1, MaxConcurrent: 1, MaxWaiting: 1, Timeout: time.Hour,
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := g.Get(ctx, "somebody", 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if g.Close(); !ended {
			t.Error("a call is still under way")
		}
	})
}

// quick is a store that answers soon.
type quick struct {
	mu    sync.Mutex
	calls int
}

func (s *quick) ask(context.Context, []int) (map[int]int, error) {
	s.mu.Lock()
	s.calls++
	s.mu.Unlock()
	time.Sleep(time.Millisecond)
	return nil, nil
}

func TestAFloodOfQuestionsIsFewCallsASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(quick)
		g := New(Config[int, int]{
			Ask: s.ask, MaxKeys: 1000, MaxConcurrent: 4, MaxWaiting: 1000, Timeout: time.Minute, Spacing: 20 * time.Millisecond,
		})
		defer g.Close()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				for ctx.Err() == nil {
					_, _, _ = g.Get(ctx, "somebody", i)
					time.Sleep(time.Millisecond)
				}
			})
		}
		time.Sleep(4 * time.Second)
		cancel()
		wg.Wait()
		s.mu.Lock()
		calls := s.calls
		s.mu.Unlock()
		if calls > 250 || calls < 150 {
			t.Errorf("%d calls in 4 s", calls)
		}
		time.Sleep(time.Second)
		began := time.Now()
		for i := range 1000 { // few questions have their answers at once
			_, _, _ = g.Get(t.Context(), "somebody", i)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("a thousand questions one after the other took %s", took)
		}
	})
}

func TestCloseEndsAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Config[int, int]{
			Ask: new(quick).ask, MaxKeys: 1000, MaxConcurrent: 1, MaxWaiting: 1000, Timeout: time.Minute, Spacing: time.Hour,
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() { _, _, _ = g.Get(ctx, "somebody", i) })
		}
		synctest.Wait()
		wg.Go(func() { _, _, _ = g.Get(ctx, "somebody", 1000) })
		synctest.Wait()
		cancel()
		wg.Wait()
		g.Close() // it would take an hour
	})
}

func TestAccountsHaveTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(store)
		g := New(Config[int, int]{Ask: s.ask, MaxKeys: 2, MaxConcurrent: 1, MaxWaiting: 100, Timeout: time.Minute})
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() { _, _, _ = g.Get(t.Context(), "many", i) })
		}
		synctest.Wait()
		if _, _, err := g.Get(t.Context(), "many", 1000); !errors.Is(err, ErrFull) {
			t.Error(err)
		}
		for _, key := range []int{1000, 99} { // 99 is in the line of the other one, too
			began := time.Now()
			if _, _, err := g.Get(t.Context(), "one", key); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > 2*time.Second { // the call under way, and its own
				t.Errorf("key %d took %s", key, took)
			}
		}
		wg.Wait()
		if len(g.lines)+len(g.turns)+len(g.pending) != 0 {
			t.Errorf("left: %d lines, %d turns, %d questions", len(g.lines), len(g.turns), len(g.pending))
		}
	})
}
