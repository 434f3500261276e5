package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// full is a machine whose processors are always full, and idle one whose never are.
func full() func() time.Duration { return func() time.Duration { return time.Second } }
func idle() func() time.Duration { return func() time.Duration { return 0 } }

// paced is an admission of which rates are at their least from the first moment.
func paced(t testing.TB, cfg Config) *Admission {
	if cfg.Delay == nil {
		cfg.Delay = full
	}
	a := newAdmission(t, cfg)
	for _, p := range []*Pace{a.Arrivals, a.Requests} {
		p.rate.now = p.rate.floor
	}
	return a
}

// flood has connections ask again and again until ctx ends, and counts their turns.
type flood struct {
	connections, addresses int
	mu                     sync.Mutex
	turns, refused         int
}

func (f *flood) run(ctx context.Context, p *Pace, wg *sync.WaitGroup) {
	for i := range f.connections {
		wg.Go(func() {
			for ctx.Err() == nil {
				err := p.Wait(ctx, client(1000+i%f.addresses), nil)
				f.mu.Lock()
				if err == nil {
					f.turns++
				} else if ctx.Err() == nil {
					f.refused++
				}
				f.mu.Unlock()
				sleep(ctx, time.Millisecond) // the reply, and the next request
			}
		})
	}
}

func TestOneClientAloneHasEveryTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := paced(t, Config{MinRequests: 1}).Requests
		began := time.Now()
		for range 20_000 {
			if p.Ask(client(1), nil) != nil {
				t.Fatal("it had to wait")
			}
		}
		// Somebody came once, and is not there any more.
		p.Ask(client(2), nil)
		time.Sleep(11 * time.Second)
		for range 20_000 {
			if p.Ask(client(1), nil) != nil {
				t.Fatal("it had to wait for somebody who was there long ago")
			}
		}
		if took := time.Since(began); took > 12*time.Second {
			t.Error(took)
		}
	})
}

// Those who wait have their turns as soon as nobody else is there.
func TestWaitingEndsWhenTheOthersAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := paced(t, Config{MinRequests: 1, RecentTime: time.Second}).Requests
		p.Ask(client(2), nil)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if err := p.Wait(t.Context(), client(1), nil); err != nil {
					t.Error(err)
				}
			})
		}
		began := time.Now()
		wg.Wait()
		if took := time.Since(began); took > 1100*time.Millisecond {
			t.Errorf("they waited %s", took)
		}
	})
}

func TestAFloodOfRequestsDelaysNobodyElse(t *testing.T) {
	for _, addresses := range []int{1, 8, 200} {
		t.Run(fmt.Sprintf("%d addresses", addresses), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := paced(t, Config{MinRequests: 500}).Requests
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				p.Ask(client(1), nil)
				f := flood{connections: 600, addresses: addresses}
				f.run(ctx, p, &wg)
				var waits []time.Duration
				for range 50 {
					began := time.Now()
					if err := p.Wait(ctx, client(1), nil); err != nil {
						t.Error(err)
					}
					waits = append(waits, time.Since(began))
					time.Sleep(40 * time.Millisecond)
				}
				seconds := 50*.04 + .1
				cancel()
				wg.Wait()
				if longest := slices.Max(waits); longest > 2*paceTick {
					t.Errorf("an honest client waited %s", longest)
				}
				// Each address may have one turn in advance, and the first tick what was kept.
				if most := int(500*seconds) + addresses + 100; f.turns > most || f.turns < 800 {
					t.Errorf("the flood had %d turns, the most should be %d", f.turns, most)
				}
			})
		})
	}
}

// While the processors are free there is a turn for everybody.
func TestFreeProcessorsLimitNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newAdmission(t, Config{MinRequests: 100_000, Delay: idle}).Requests
		p.Ask(client(2), nil)
		time.Sleep(time.Millisecond)
		for range 100 {
			for range 500 {
				if p.Ask(client(1), nil) != nil {
					t.Fatal("it had to wait")
				}
			}
			time.Sleep(time.Millisecond)
		}
	})
}

func TestTheRateFollowsTheDelay(t *testing.T) {
	delay := time.Second
	now := time.Unix(0, 0)
	r := adaptiveRate{floor: 100, mostWait: time.Millisecond, delay: func() time.Duration { return delay }, now: 1000, adapted: now}
	for i, want := range []float64{500, 250, 125, 100, 100} {
		now = now.Add(adaptEvery)
		r.adapt(now.Add(-time.Millisecond)) // too early
		if r.adapt(now); r.now != want {
			t.Errorf("%d: %g turns a second, want %g", i, r.now, want)
		}
	}
	delay = time.Millisecond
	for range 10 * time.Second / adaptEvery {
		now = now.Add(adaptEvery)
		r.adapt(now)
	}
	if r.now < 900 || r.now > 1300 { // growth of a quarter a second is e in four
		t.Errorf("after ten seconds %g turns a second", r.now)
	}
	for range 3 {
		now = now.Add(time.Minute)
		r.adapt(now)
	}
	if r.now != highest*r.floor {
		t.Errorf("at last %g turns a second", r.now)
	}
}

func TestStruckClientsComeLastAndNeverFasterThanTheLeastRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(t, Config{MinArrivals: 100, Delay: idle})
		p := a.Arrivals
		for i := range 8 {
			p.strike(client(1000 + i))
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		f := flood{connections: 800, addresses: 8}
		f.run(ctx, p, &wg)
		for range 100 { // 5 s
			time.Sleep(50 * time.Millisecond)
			if p.Ask(client(1), nil) != nil {
				t.Error("a client that was not struck had to wait")
			}
		}
		f.mu.Lock()
		turns := f.turns
		f.mu.Unlock()
		if turns < 450 || turns > 550 {
			t.Errorf("struck clients had %d turns in 5 s at 100 a second", turns)
		}
		time.Sleep(6 * time.Second) // it is forgiven, and the rate is a machine's that is idle
		cancel()
		wg.Wait()
		if f.turns < 1500 {
			t.Errorf("%d turns after it was forgiven", f.turns)
		}
	})
}

// A client that waits for many has one turn in four, whatever crowd of small ones is there.
func TestACrowdDoesNotKeepALargeClientWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := paced(t, Config{MinRequests: 200}).Requests
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		crowd := flood{connections: 500, addresses: 500}
		crowd.run(ctx, p, &wg)
		time.Sleep(time.Second)
		large := 0
		var mu sync.Mutex
		for range 20 {
			wg.Go(func() {
				if p.Wait(ctx, client(1), nil) == nil {
					mu.Lock()
					large++
					mu.Unlock()
				}
			})
		}
		time.Sleep(7 * time.Second)
		mu.Lock()
		if large != 20 {
			t.Errorf("%d of 20 turns in 7 s", large)
		}
		mu.Unlock()
		cancel()
		wg.Wait()
	})
}

func TestWaitingForATurnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := paced(t, Config{MinArrivals: 1, MinRequests: 1})
		p := a.Requests
		p.strike(client(1))
		p.Ask(client(2), nil)
		for p.Ask(client(1), nil) == nil {
		}
		began := time.Now()
		gone := make(chan struct{})
		close(gone)
		if err := p.Wait(t.Context(), client(1), gone); !errors.Is(err, ErrGone) {
			t.Error(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errSomething)
		if err := p.Wait(ctx, client(1), nil); !errors.Is(err, errSomething) {
			t.Error(err)
		}
		var wg sync.WaitGroup
		var refused atomic.Int32
		for range 20 {
			wg.Go(func() {
				if err := p.Wait(t.Context(), client(1), nil); err != nil {
					reasonOf(t, err)
					refused.Add(1)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		if took := time.Since(began); took < 8*time.Second || took > 8100*time.Millisecond || refused.Load() < 10 {
			t.Errorf("%d were refused after %s", refused.Load(), took)
		}
	})
}

var errSomething = errors.New("something")

func TestTheNewestConnectionIsReadFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := paced(t, Config{MinArrivals: 1}).Arrivals
		p.Ask(client(2), nil)
		for p.Ask(client(1), func(bool) {}) == nil {
		}
		var order []int
		var mu sync.Mutex
		for i := range 3 {
			p.Ask(client(1), func(granted bool) {
				mu.Lock()
				defer mu.Unlock()
				if granted {
					order = append(order, i)
				}
			})
		}
		time.Sleep(2100 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(order, []int{2, 1}) {
			t.Errorf("the order was %v", order)
		}
	})
}

// TestTurnsBalance: whatever is asked and given up, each waits or has its answer, once; and at last nothing is kept.
func TestTurnsBalance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(0, 0)
		a, err := New(Config{MinRequests: 50, Delay: full, Clock: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		p := a.Requests
		p.rate.now = p.rate.floor
		p.newestFirst = rapid.Bool().Draw(t, "newest first")
		p.armed = true // no timer: the test gives the turns
		answers := map[int]int{}
		var turns []*Turn
		asked, givenUp := 0, 0
		for range rapid.IntRange(0, 100).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1, 2:
				i := asked
				if turn := p.Ask(client(rapid.IntRange(0, 3).Draw(t, "client")), func(bool) { answers[i]++ }); turn != nil {
					turns = append(turns, turn)
				} else {
					answers[i]++
				}
				asked++
			case 3:
				now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
				p.giveTurns()
			case 4:
				p.strike(client(rapid.IntRange(0, 3).Draw(t, "struck")))
			case 5:
				if len(turns) > 0 {
					turn := turns[rapid.IntRange(0, len(turns)-1).Draw(t, "cancelled")]
					if turn.inLine != nil {
						givenUp++
					}
					turn.Cancel()
				}
			}
			sum := 0
			for i, l := range p.order {
				if sum += l.turns.Len(); l.index != i || l.turns.Len() == 0 || p.lines[l.client] != l {
					t.Fatalf("line %d of %d is not in order", i, len(p.order))
				}
			}
			if sum != p.oldest.Len() || len(p.order) != len(p.lines) {
				t.Fatalf("%d wait in lines, %d in all", sum, p.oldest.Len())
			}
		}
		now = now.Add(time.Hour)
		p.giveTurns()
		for i, n := range answers {
			if n != 1 {
				t.Fatalf("%d has %d answers", i, n)
			}
		}
		if len(answers) != asked-givenUp || p.oldest.Len()+len(p.lines)+len(p.order) != 0 {
			t.Fatalf("%d asked, %d were answered; left: %d", asked, len(answers), p.oldest.Len())
		}
	})
}
