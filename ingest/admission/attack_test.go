package admission

// Attacks on the places for bodies, in virtual time.

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// attack is bodies from addresses that are not the honest client's.
type attack struct {
	bodies, addresses int
	// burst bytes come every pause.
	burst int
	pause time.Duration
}

// run keeps all bodies open until ctx ends: one that loses its place, or gets none, comes again.
func (a attack) run(ctx context.Context, g *Gate, wg *sync.WaitGroup) {
	for i := range a.bodies {
		wg.Go(func() {
			who := Who{Client: client(1000 + i%a.addresses)}
			for ctx.Err() == nil {
				if place, err := g.Enter(ctx, who); err == nil {
					a.send(ctx, place)
				}
				sleep(ctx, 400*time.Millisecond) // it connects again
			}
		})
	}
}

func (a attack) send(ctx context.Context, p *Place) {
	defer p.Release()
	ctx, cancel := p.Context(ctx)
	defer cancel()
	for ctx.Err() == nil {
		p.Await()
		p.Received(a.burst)
		p.Await()
		sleep(ctx, a.pause)
		p.Received(0)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// waits is how long an honest client waits for a place during an attack: at its begin, and later.
func waits(t *testing.T, a attack, uploads int) (list []time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		g := newAdmission(t, Config{}).Uploads
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		a.run(ctx, g, &wg)
		time.Sleep(time.Millisecond)
		for i := range uploads {
			began := time.Now()
			p, err := g.Enter(ctx, Who{Client: client(1)})
			if err != nil {
				t.Errorf("upload %d: %v", i, err)
				break
			}
			list = append(list, time.Since(began))
			ctx, done := p.Context(ctx)
			p.Await()
			time.Sleep(100 * time.Millisecond)
			p.Received(8 << 20)
			if ctx.Err() != nil {
				t.Errorf("upload %d: %v", i, context.Cause(ctx))
			}
			done()
			p.Release()
			time.Sleep(333 * time.Millisecond)
		}
		cancel()
		wg.Wait()
	})
	return list
}

func TestSlowBodiesNeverCloseTheService(t *testing.T) {
	for _, bodies := range []int{64, 8192} {
		if bodies > 64 && testing.Short() {
			continue
		}
		for _, addresses := range []int{1, 8, 200} {
			t.Run(fmt.Sprintf("%d bodies from %d addresses", bodies, addresses), func(t *testing.T) {
				longest := slices.Max(waits(t, attack{bodies: bodies, addresses: addresses, burst: 1, pause: 20 * time.Second}, 5))
				t.Log("longest wait", longest)
				if longest > 400*time.Millisecond {
					t.Errorf("an honest client waited %s", longest)
				}
			})
		}
	}
}

// What a flood of slow bodies costs is how often one of them is read, and finds no place or loses it. Connections that
// wait for their turn cost a socket.
func TestSlowBodiesAreReadAtABoundedRate(t *testing.T) {
	for _, addresses := range []int{1, 8, 200} {
		t.Run(fmt.Sprintf("%d addresses", addresses), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAdmission(t, Config{MinArrivals: 500, Delay: idle}) // strikes alone have to do it
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				var mu sync.Mutex
				reads := 0
				for i := range 2000 {
					wg.Go(func() {
						who := Who{Client: client(1000 + i%addresses)}
						for ctx.Err() == nil {
							if a.Arrivals.Wait(ctx, who.Client, nil) == nil {
								mu.Lock()
								reads++
								mu.Unlock()
								if place, err := a.Uploads.Enter(ctx, who); err == nil {
									attack{burst: 1, pause: 20 * time.Second}.send(ctx, place)
								}
							}
							sleep(ctx, 400*time.Millisecond)
						}
					})
				}
				count := func() int {
					mu.Lock()
					defer mu.Unlock()
					defer func() { reads = 0 }()
					return reads
				}
				honest := func() {
					began := time.Now()
					if err := a.Arrivals.Wait(ctx, client(1), nil); err != nil {
						t.Error(err)
					}
					place, err := a.Uploads.Enter(ctx, Who{Client: client(1)})
					if err != nil {
						t.Fatal(err)
					}
					if took := time.Since(began); took > 400*time.Millisecond {
						t.Errorf("an honest client waited %s", took)
					}
					place.Release()
					time.Sleep(time.Second)
				}
				for range 3 { // the attackers are struck now
					honest()
				}
				count()
				for range 5 {
					honest()
				}
				if n := count(); n > 5*600 {
					t.Errorf("%d connections were read in 5 s", n)
				}
				cancel()
				wg.Wait()
			})
		})
	}
}

// Two hundred clients with one body each look like honest ones until they were slow once: for that long, one that comes
// after all of them waits in line.
func TestSlowBodiesOfUnknownClientsAreKnownSoon(t *testing.T) {
	list := waits(t, attack{bodies: 200, addresses: 200, burst: 1, pause: 20 * time.Second}, 8)
	t.Log("waits", list)
	if list[0] > time.Second || slices.Max(list[1:]) > 400*time.Millisecond {
		t.Errorf("an honest client waited %s", list)
	}
}

// Bodies at just the minimum rate are not slow. What one address has above its share is taken back all the same.
func TestBodiesAtTheMinimumRateNeverCloseTheService(t *testing.T) {
	for _, a := range []attack{
		{bodies: 64, addresses: 1, burst: 20 << 10, pause: time.Second},
		{bodies: 2000, addresses: 1, burst: 20 << 10, pause: time.Second},
		{bodies: 2000, addresses: 30, burst: 20 << 10, pause: time.Second},
		{bodies: 64, addresses: 1, burst: 40 << 10, pause: 2 * time.Second},
	} {
		t.Run(fmt.Sprintf("%d bodies from %d addresses", a.bodies, a.addresses), func(t *testing.T) {
			longest := slices.Max(waits(t, a, 5))
			t.Log("longest wait", longest)
			if longest > 550*time.Millisecond {
				t.Errorf("an honest client waited %s", longest)
			}
		})
	}
}
