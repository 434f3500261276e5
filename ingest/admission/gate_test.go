package admission

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// client returns the client with a number.
func client(n int) Client {
	return ClientOf(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}))
}

func newAdmission(t testing.TB, cfg Config) *Admission {
	t.Helper()
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// holder enters a gate and holds its place until it is told to leave or its place is taken back.
type holder struct {
	who    Who
	silent bool
	leave  chan struct{}

	// Guarded by the world's mu.
	place   *Place // nil: it has none yet, or none any more
	failed  error
	waited  time.Duration
	entered time.Time
	cause   error // why its place was taken back
}

// world is holders around a gate, in a synctest bubble.
type world struct {
	gate *Gate
	mu   sync.Mutex
	all  []*holder
	wg   sync.WaitGroup
}

// enter starts a holder. A silent one keeps the gate waiting all the time, any other never.
func (w *world) enter(who Who, silent bool) *holder {
	h := &holder{who: who, silent: silent, leave: make(chan struct{})}
	w.mu.Lock()
	w.all = append(w.all, h)
	w.mu.Unlock()
	w.wg.Go(func() {
		began := time.Now()
		p, err := w.gate.Enter(context.Background(), who)
		w.mu.Lock()
		h.place, h.failed, h.waited, h.entered = p, err, time.Since(began), time.Now()
		w.mu.Unlock()
		if err != nil {
			return
		}
		ctx, cancel := p.Context(context.Background())
		defer cancel()
		if silent {
			p.Await()
		}
		select {
		case <-h.leave:
		case <-ctx.Done():
		}
		w.mu.Lock()
		h.place = nil
		if ctx.Err() != nil {
			h.cause = context.Cause(ctx)
		}
		w.mu.Unlock()
		p.Release()
	})
	return h
}

// holders are those that have a place.
func (w *world) holders() (list []*holder) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.all {
		if h.place != nil {
			list = append(list, h)
		}
	}
	return list
}

// end lets everybody go and checks that all was given back.
func (w *world) end() error {
	for { // those who wait get a place when others leave, and leave in turn
		synctest.Wait()
		list := w.holders()
		if len(list) == 0 {
			break
		}
		for _, h := range list {
			close(h.leave)
		}
	}
	w.wg.Wait()
	time.Sleep(time.Second) // a review that was due
	synctest.Wait()
	g := w.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.held)+len(g.waiting)+len(g.clients)+len(g.domains)+g.leaving != 0 || g.armed {
		return fmt.Errorf("left: %d places, %d waiters, %d clients, %d domains, %d leaving, armed %t",
			len(g.held), len(g.waiting), len(g.clients), len(g.domains), g.leaving, g.armed)
	}
	return nil
}

// counts is a gate's state.
type counts struct {
	held, waiting map[Client]int
	places, line  int
}

func (w *world) counts() counts {
	g := w.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	c := counts{held: map[Client]int{}, waiting: map[Client]int{}, places: len(g.held), line: len(g.waiting)}
	for who, a := range g.clients {
		c.held[who], c.waiting[who] = a.held, a.waiting
	}
	return c
}

// step is one thing that happens to a gate.
type step struct {
	kind   string // enter, silent (enters and says nothing), leave, pass
	number int    // of the client, of the holder
	domain int
	time   time.Duration
}

func steps() *rapid.Generator[step] {
	return rapid.Custom(func(t *rapid.T) step {
		return step{
			kind:   rapid.SampledFrom([]string{"enter", "silent", "silent", "leave", "leave", "pass"}).Draw(t, "kind"),
			number: rapid.IntRange(0, 5).Draw(t, "number"),
			domain: rapid.IntRange(0, 2).Draw(t, "domain"),
			time:   time.Duration(rapid.IntRange(0, 40).Draw(t, "intervals")) * 25 * time.Millisecond,
		}
	})
}

// TestPlacesAreFair: whatever comes and goes, there are never more holders than places, none is free while somebody
// waits, nobody passes one with fewer places, only larger holders lose places, and nobody waits longer than MaxWait.
func TestPlacesAreFair(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := Config{MaxUploads: rapid.IntRange(1, 5).Draw(rt, "places"), MaxWaiting: rapid.IntRange(1, 8).Draw(rt, "line")}
		cfg.MaxCalls = cfg.MaxUploads
		calls := rapid.Bool().Draw(rt, "calls")
		script := rapid.SliceOfN(steps(), 1, 60).Draw(rt, "steps")
		var failed error
		synctest.Test(t, func(t *testing.T) { failed = play(t, cfg, calls, script) })
		if failed != nil {
			rt.Fatal(failed)
		}
	})
}

func play(t *testing.T, cfg Config, calls bool, script []step) error {
	a := newAdmission(t, cfg)
	w := &world{gate: a.Uploads}
	if calls {
		w.gate = a.Calls
	}
	var failed error
	for i, s := range script {
		rounds := 1
		if s.kind == "pass" {
			rounds = int(s.time / (25 * time.Millisecond))
		}
		for range rounds {
			before, lost := w.counts(), w.lost()
			w.act(s)
			synctest.Wait()
			if err := w.check(s, before, lost); err != nil && failed == nil {
				failed = fmt.Errorf("step %d, %v: %w", i, s, err)
			}
		}
	}
	if err := w.end(); err != nil && failed == nil {
		failed = err
	}
	for _, h := range w.all {
		if h.waited > a.cfg.MaxWait && failed == nil {
			failed = fmt.Errorf("one waited %s", h.waited)
		}
	}
	return failed
}

func (w *world) act(s step) {
	who := Who{client(s.number), fmt.Sprint(s.domain, ".example")}
	switch s.kind {
	case "enter":
		w.enter(who, false)
	case "silent":
		w.enter(who, true)
	case "leave":
		if list := w.holders(); len(list) > 0 {
			close(list[s.number%len(list)].leave)
		}
	case "pass":
		time.Sleep(25 * time.Millisecond)
	}
}

// lost lists those whose places were taken back.
func (w *world) lost() map[*holder]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := map[*holder]bool{}
	for _, h := range w.all {
		if h.cause != nil {
			list[h] = true
		}
	}
	return list
}

// check compares a gate's state with the one before a step.
func (w *world) check(s step, before counts, lostBefore map[*holder]bool) error {
	after, lost := w.counts(), w.lost()
	switch {
	case after.places > w.gate.places:
		return fmt.Errorf("%d places are taken", after.places)
	case after.line > 0 && after.places < w.gate.places:
		return fmt.Errorf("%d wait, and only %d places are taken", after.line, after.places)
	case after.line > w.gate.cfg.MaxWaiting:
		return fmt.Errorf("%d wait", after.line)
	}
	losers := map[Client]bool{}
	for h := range lost {
		if !lostBefore[h] {
			losers[h.who.Client] = true
			if err := w.checkLoss(s, h, before); err != nil {
				return err
			}
		}
	}
	for who, n := range after.held {
		if n <= before.held[who] || losers[who] || before.waiting[who] <= after.waiting[who] {
			continue
		}
		for other, left := range after.waiting {
			if left > 0 && before.waiting[other] >= left && n-1 > before.held[other] {
				return fmt.Errorf("%s with %d places passed %s with %d", who, n-1, other, before.held[other])
			}
		}
	}
	return nil
}

// checkLoss checks that a place was rightly taken back.
func (w *world) checkLoss(s step, h *holder, before counts) error {
	clients := len(before.held)
	if s.kind == "enter" || s.kind == "silent" {
		before.waiting[client(s.number)]++
	}
	fewest := w.gate.places // of those who wait
	for who, n := range before.waiting {
		if n > 0 && (who != h.who.Client || w.gate.byDomain) {
			fewest = min(fewest, before.held[who])
		}
	}
	has := before.held[h.who.Client]
	switch {
	case errors.Is(h.cause, ErrRecalled) && (has <= w.gate.places/max(1, clients) || has <= fewest):
		return fmt.Errorf("%s was recalled with %d of %d places among %d clients", h.who.Client, has, w.gate.places, clients)
	case errors.Is(h.cause, ErrRecalled):
		return nil
	case !h.silent:
		return fmt.Errorf("%s was called slow", h.who.Client)
	case before.places > w.gate.places/2 && time.Since(h.entered) >= w.gate.grace+w.gate.cfg.BodyPatience && clients > 1:
		return nil
	case time.Since(h.entered) < w.gate.grace/4:
		return fmt.Errorf("%s was called slow after %s", h.who.Client, time.Since(h.entered))
	case has <= fewest && !(w.gate.byDomain && before.waiting[h.who.Client] > 0): // there it may lose one to another domain
		return fmt.Errorf("%s lost one of %d places, and those who waited had %d at least", h.who.Client, has, fewest)
	}
	return nil
}

func TestOneClientAloneGetsAllPlacesAtAnySpeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{gate: newAdmission(t, Config{}).Uploads}
		var holders []*holder
		for range 64 {
			holders = append(holders, w.enter(Who{Client: client(1)}, true))
		}
		synctest.Wait()
		late := w.enter(Who{Client: client(1)}, true)
		time.Sleep(time.Hour)
		synctest.Wait()
		for _, h := range holders {
			if h.failed != nil || h.waited != 0 || h.cause != nil {
				t.Fatalf("refused %v, waited %s, taken back %v", h.failed, h.waited, h.cause)
			}
		}
		var refusal *Refusal
		if !errors.As(late.failed, &refusal) || refusal.Reason != Full || refusal.Limit != 64 || late.waited != time.Second {
			t.Errorf("the one too many got %v after %s", late.failed, late.waited)
		}
		if err := w.end(); err != nil {
			t.Error(err)
		}
	})
}

func TestClientOverItsShareIsRefusedAtOnceWhileOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{gate: newAdmission(t, Config{MaxUploads: 4}).Uploads}
		for range 4 {
			w.enter(Who{Client: client(1)}, false)
		}
		synctest.Wait()
		w.enter(Who{Client: client(2)}, false)
		synctest.Wait()
		h := w.enter(Who{Client: client(1)}, false)
		synctest.Wait()
		var refusal *Refusal
		if !errors.As(h.failed, &refusal) || refusal.Reason != OverShare || refusal.Limit != 2 || h.waited != 0 {
			t.Errorf("got %v after %s", h.failed, h.waited)
		}
		if err := w.end(); err != nil {
			t.Error(err)
		}
	})
}

func TestWaiterWithFewerPlacesTakesTheRoomOfOneWithMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{gate: newAdmission(t, Config{MaxUploads: 2, MaxWaiting: 3}).Uploads}
		var crowd []*holder
		for range 6 { // two hold, three wait, one finds no room
			crowd = append(crowd, w.enter(Who{Client: client(1)}, false))
			synctest.Wait()
		}
		newcomer := w.enter(Who{Client: client(2)}, false)
		synctest.Wait()
		var full, displaced *Refusal
		if !errors.As(crowd[5].failed, &full) || full.Reason != Full {
			t.Errorf("the sixth got %v", crowd[5].failed)
		}
		if !errors.As(crowd[4].failed, &displaced) || displaced.Reason != OverShare {
			t.Errorf("the last in line got %v", crowd[4].failed)
		}
		close(crowd[0].leave)
		synctest.Wait()
		if newcomer.place == nil {
			t.Errorf("the newcomer has no place: %v", newcomer.failed)
		}
		if err := w.end(); err != nil {
			t.Error(err)
		}
	})
}

// A body that is quick, or that waits for the service, isn't slow.
func TestServiceThatIsBusyCallsNobodySlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(t, Config{MaxUploads: 2})
		w := &world{gate: a.Uploads}
		p, err := a.Uploads.Enter(t.Context(), Who{Client: client(1)})
		if err != nil {
			t.Fatal(err)
		}
		other, err := a.Uploads.Enter(t.Context(), Who{Client: client(1)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := p.Context(t.Context())
		defer cancel()
		for range 10 {
			p.Await()
			time.Sleep(200 * time.Millisecond)
			p.Received(4 << 10)         // 20 KiB/s
			time.Sleep(3 * time.Second) // the service is busy
			h := w.enter(Who{Client: client(2)}, false)
			time.Sleep(300 * time.Millisecond)
			synctest.Wait()
			if h.place != nil || ctx.Err() != nil {
				t.Fatal("a place was taken back")
			}
			p.Await()
			time.Sleep(20 * time.Millisecond)
			p.Received(1 << 10)
			time.Sleep(time.Second)
			other.Release()
			synctest.Wait()
			if other, err = a.Uploads.Enter(t.Context(), Who{Client: client(1)}); err != nil {
				t.Fatal(err)
			}
		}
		p.Release()
		other.Release()
	})
}
