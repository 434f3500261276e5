package certs

// Who waits for whose looks, and what bounds those that wait.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/internal/hostname"
	"countersign/testsite"
)

func TestTheCallersDeadlineSaysWhyThereIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{hangs: func(string) bool { return true }}
		sites := newSites(t, Config{source: f.source})
		defer sites.Close()
		ask := func(site string, timeout time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			_, err := sites.Look(ctx, site, "client", time.Now())
			return err
		}
		var callers sync.WaitGroup
		defer callers.Wait()
		flood := func(name string) {
			for i := range 100 {
				callers.Go(func() { ask(fmt.Sprintf("%s%d.example.com", name, i), MaxWait) })
				if i < maxRunningOfAccount {
					synctest.Wait() // the first ones are those that run
				}
			}
			synctest.Wait()
		}
		flood("s")
		u := unavailable(t, ask("s1.example.com", time.Second), "s1.example.com", "has not answered in time")
		if !errors.Is(u, ErrNoAnswer) {
			t.Errorf("%v, want ErrNoAnswer", u)
		}
		u = unavailable(t, ask("s101.example.com", time.Second), "s101.example.com", "turn did not come in time")
		if !errors.Is(u, ErrNoTurn) {
			t.Errorf("%v, want ErrNoTurn", u)
		}
		flood("more")
		// Without a deadline of its own a caller waits for MaxWait.
		began := time.Now()
		_, err := sites.Look(t.Context(), "s102.example.com", "client", began)
		unavailable(t, err, "s102.example.com", "turn did not come in time")
		if waited := time.Since(began); waited != MaxWait {
			t.Errorf("it waited %s, want %s", waited, MaxWait)
		}
		// A look that nobody waits for any more doesn't begin.
		time.Sleep(time.Minute)
		if n := len(f.looks("s101.example.com")) + len(f.looks("s102.example.com")); n != 0 {
			t.Errorf("%d looks that nobody waits for", n)
		}
	})
}

// 10,000 sites of one wildcard domain that never answer, asked for by one client, wait. A newcomer's look begins at
// once. Neither the domain nor the client has more than eight looks under way. When the flood has gone, nothing of it
// is kept.
func TestSitesThatHangHoldUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chains := chainsOf(t, testsite.SiteConfig{})
		f := &fake{chains: chains, hangs: func(site string) bool { return hostname.Domain(site) == "flood.com" }}
		registry := prometheus.NewRegistry()
		sites := newSites(t, Config{source: f.source, Registerer: registry})
		defer sites.Close()
		var callers sync.WaitGroup
		ask := func(site, client string) {
			callers.Go(func() {
				if _, err := sites.Await(t.Context(), site, client); err == nil {
					t.Errorf("%s answered", site)
				}
			})
		}
		for i := range 10_000 {
			ask(fmt.Sprintf("s%d.flood.com", i), "flooder")
		}
		synctest.Wait()
		at := func(site, client string, most time.Duration) {
			t.Helper()
			began := time.Now()
			if _, err := sites.Await(t.Context(), site, client); err != nil {
				t.Errorf("%s for %s: %v", site, client, err)
			}
			if waited := time.Since(began); waited > most {
				t.Errorf("%s for %s waited %s, want at most %s", site, client, waited, most)
			}
		}
		at("newcomer.example", "newcomer", 0)
		at("unknown-client.example", "", 0)
		running := gauge(t, registry, "countersign_certs_looks_running")
		waiting := gauge(t, registry, "countersign_certs_looks_waiting")
		if running != 8 || waiting != 9992 {
			t.Errorf("the metrics say that %v looks run and %v wait, want 8 and 9992", running, waiting)
		}
		// Another site that the flooder asks for, too, doesn't wait behind the flood when somebody else asks for it.
		callers.Go(func() { sites.Await(t.Context(), "popular.example", "flooder") })
		synctest.Wait()
		if n := len(f.looks("popular.example")); n != 0 {
			t.Fatalf("%d looks: the flooder has nine places", n)
		}
		at("popular.example", "newcomer", 0)
		// A site of the flooded domain that is known is charged to another account than the flood.
		f.mu.Lock()
		f.hangs = func(site string) bool { return hostname.Domain(site) == "flood.com" && site != "www.flood.com" }
		f.mu.Unlock()
		sites.mu.Lock()
		sites.memory.see("www.flood.com", []found{{chain: chains[0], until: time.Now().Add(time.Hour)}}, true, time.Now(), time.Now())
		sites.mu.Unlock()
		began := time.Now()
		if _, err := sites.Look(t.Context(), "www.flood.com", "newcomer", began); err != nil || time.Since(began) != 0 {
			t.Errorf("a known site of the domain: %v after %s", err, time.Since(began))
		}
		callers.Wait()
		if over := f.everMoreThan(maxRunningOfAccount + 1); len(over) != 0 { // one more for the known one
			t.Errorf("domains with more looks at once: %v", over)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		sites.mu.Lock()
		defer sites.mu.Unlock()
		if sites.queue.Len() != 0 || sites.turns != 0 || len(sites.queued) != 0 || len(sites.asked) != 0 {
			t.Errorf("left: %d in the queue, %d turns, %d accounts, %d sites",
				sites.queue.Len(), sites.turns, len(sites.queued), len(sites.asked))
		}
	})
}

func TestNoMoreLooksRunThanThereArePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{hangs: func(string) bool { return true }}
		sites := newSites(t, Config{source: f.source})
		defer sites.Close()
		var callers sync.WaitGroup
		for i := range 2 * maxRunning {
			callers.Go(func() { sites.Await(t.Context(), fmt.Sprintf("s%d.example", i), "") })
		}
		synctest.Wait()
		f.mu.Lock()
		running := 0
		for _, n := range f.running {
			running += n
		}
		f.mu.Unlock()
		if running != maxRunning {
			t.Errorf("%d looks run, want %d", running, maxRunning)
		}
		callers.Wait()
	})
}

func TestAnAccountsQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{hangs: func(string) bool { return true }}
		sites := newSites(t, Config{source: f.source})
		defer sites.Close()
		var callers sync.WaitGroup
		var mu sync.Mutex
		refused := 0
		for i := range maxQueuedOfAccount + maxRunningOfAccount + 100 {
			callers.Go(func() {
				began := time.Now()
				_, err := sites.Await(t.Context(), fmt.Sprintf("s%d.flood.com", i), "")
				if errors.Is(err, ErrNoTurn) && time.Since(began) == 0 {
					mu.Lock()
					defer mu.Unlock()
					refused++
				}
			})
		}
		synctest.Wait()
		mu.Lock()
		if refused < 100 || refused > 100+maxRunningOfAccount {
			t.Errorf("%d are refused at once, want some 100", refused)
		}
		mu.Unlock()
		callers.Wait()
	})
}
