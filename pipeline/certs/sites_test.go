package certs

import (
	"context"
	"crypto/elliptic"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/internal/hostname"
	"countersign/testsite"
)

// fake is a source that tests steer. It notes its calls, and waits in each while it is held.
type fake struct {
	mu      sync.Mutex
	began   map[string][]time.Time // by site
	running map[string]int         // by registrable domain
	most    map[string]int         // that ran at once, by registrable domain
	chains  []Chain
	err     error
	hold    chan struct{}          // nil: answers at once
	hangs   func(site string) bool // nil: none
}

func (f *fake) source(ctx context.Context, site string) ([]found, bool, error) {
	domain := hostname.Domain(site)
	f.mu.Lock()
	if f.began == nil {
		f.began, f.running, f.most = make(map[string][]time.Time), make(map[string]int), make(map[string]int)
	}
	f.began[site] = append(f.began[site], time.Now())
	f.running[domain]++
	f.most[domain] = max(f.most[domain], f.running[domain])
	hold, hangs := f.hold, f.hangs
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.running[domain]--
		f.mu.Unlock()
	}()
	if hangs != nil && hangs(site) {
		hanging, cancel := context.WithTimeout(ctx, lookTimeout)
		defer cancel()
		<-hanging.Done()
		if ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
		return nil, false, &Unavailable{Site: site, Reason: site + ": no answer; mend it", Err: context.DeadlineExceeded}
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []found
	for _, chain := range f.chains {
		until := time.Now().Add(time.Hour)
		if leaf, err := chain.Leaf(); err == nil {
			until = leaf.NotAfter
		}
		all = append(all, found{chain: chain, until: until})
	}
	return all, false, f.err
}

func (f *fake) set(chains []Chain, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.chains, f.err = chains, err
}

func (f *fake) looks(site string) []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.began[site]
}

func (f *fake) everMoreThan(most int) map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	over := maps.Clone(f.most)
	maps.DeleteFunc(over, func(_ string, n int) bool { return n <= most })
	return over
}

// chainsOf makes a site with a new P-256 key and gives its chains.
func chainsOf(t *testing.T, config testsite.SiteConfig) []Chain {
	t.Helper()
	config.Curve = elliptic.P256()
	var chains []Chain
	for _, chain := range newSite(t, newCA(t), siteName, config).Chains() {
		chains = append(chains, Chain{Certificates: chain})
	}
	return chains
}

func lookSince(t *testing.T, sites *Sites, since time.Time) Known {
	t.Helper()
	known, err := sites.Look(t.Context(), siteName, "", since)
	if err != nil {
		t.Fatal(err)
	}
	return known
}

// checkLeaves checks that known is of the leaves of those chains, in that order.
func checkLeaves(t *testing.T, what string, known Known, want ...[]Chain) {
	t.Helper()
	var all []Chain
	for _, chains := range want {
		all = append(all, chains...)
	}
	if len(known.Leaves) != len(all) {
		t.Fatalf("%s: %d leaves, want %d", what, len(known.Leaves), len(all))
	}
	for i, leaf := range known.Leaves {
		if leaf.Key.Fingerprint != all[i].Fingerprint() || leaf.Chain.Fingerprint() != all[i].Fingerprint() {
			t.Errorf("%s: leaf %d is another one", what, i)
		}
	}
}

func TestLeavesCountWithinGraceAndWhileTheyAreValid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := chainsOf(t, testsite.SiteConfig{})
		second := chainsOf(t, testsite.SiteConfig{NotAfter: time.Now().Add(3 * time.Hour)})
		third := chainsOf(t, testsite.SiteConfig{})
		f := &fake{chains: first}
		sites := newSites(t, Config{source: f.source})
		defer sites.Close()
		if known := sites.Known(siteName); len(known.Leaves) != 0 || len(f.looks(siteName)) != 0 {
			t.Errorf("%d leaves before any look, after %d looks", len(known.Leaves), len(f.looks(siteName)))
		}
		checkLeaves(t, "the first look", await(t, sites), first)
		time.Sleep(time.Hour)
		checkLeaves(t, "an hour later, without a look", await(t, sites), first)
		f.set(second, nil)
		checkLeaves(t, "after rotation", lookSince(t, sites, time.Now()), second, first)
		f.set(third, nil)
		checkLeaves(t, "after another one", lookSince(t, sites, time.Now()), third, second, first)
		f.set(first, nil)
		checkLeaves(t, "seen again", lookSince(t, sites, time.Now()), first, third, second)
		time.Sleep(2*time.Hour + time.Minute)
		checkLeaves(t, "one has expired", sites.Known(siteName), first, third)
		f.set(third, nil)
		looked := lookSince(t, sites, time.Now())
		time.Sleep(UsualGrace - 3*time.Hour)
		checkLeaves(t, "before the grace of the first ends", sites.Known(siteName), third, first)
		if sites.Known(siteName).Looked != looked.Looked {
			t.Error("Looked isn't the time of the last look")
		}
		time.Sleep(2 * time.Hour)
		checkLeaves(t, "the grace of the first has ended", sites.Known(siteName), third)
		time.Sleep(time.Hour + time.Second)
		checkLeaves(t, "all grace has ended", sites.Known(siteName))
		checkLeaves(t, "found again", await(t, sites), third)
	})
}

func TestAtMostEightLeavesCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		sites := newSites(t, Config{source: f.source})
		defer sites.Close()
		var newest [][]Chain
		for range MaxLeaves + 3 {
			chains := chainsOf(t, testsite.SiteConfig{})
			f.set(chains, nil)
			lookSince(t, sites, time.Now())
			newest = append([][]Chain{chains}, newest...)
		}
		checkLeaves(t, "after eleven rotations", sites.Known(siteName), newest[:MaxLeaves]...)
	})
}

func TestOneLookServesAllWhoNeedOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{chains: chainsOf(t, testsite.SiteConfig{}), hold: make(chan struct{})}
		sites := newSites(t, Config{source: f.source})
		defer sites.Close()
		since := time.Now()
		time.Sleep(time.Nanosecond)
		var callers sync.WaitGroup
		for i := range 100 {
			callers.Go(func() {
				if known, err := sites.Look(t.Context(), siteName, fmt.Sprint(i), since); err != nil || len(known.Leaves) != 1 {
					t.Errorf("%d leaves, %v", len(known.Leaves), err)
				}
			})
		}
		synctest.Wait()
		time.Sleep(time.Second)
		close(f.hold)
		callers.Wait()
		if looks := f.looks(siteName); len(looks) != 1 {
			t.Errorf("%d looks, want 1", len(looks))
		}
		// A later caller, whose signatures came before the look began, is served by that look, too.
		time.Sleep(time.Hour)
		lookSince(t, sites, since)
		if looks := f.looks(siteName); len(looks) != 1 {
			t.Errorf("%d looks, want the one that there was", len(looks))
		}
	})
}

// A caller that waits for a look that began before since would call signatures bad by a certificate that was replaced
// before they came.
func TestALookThatBeganBeforeDoesNotServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, rotated := chainsOf(t, testsite.SiteConfig{}), chainsOf(t, testsite.SiteConfig{})
		f := &fake{chains: old, hold: make(chan struct{})}
		sites := newSites(t, Config{source: f.source})
		defer sites.Close()
		go sites.Look(t.Context(), siteName, "", time.Now())
		synctest.Wait() // the first look runs
		time.Sleep(time.Second)
		since := time.Now()
		second := make(chan Known, 1)
		go func() {
			known, err := sites.Look(t.Context(), siteName, "", since)
			if err != nil {
				t.Error(err)
			}
			second <- known
		}()
		synctest.Wait()
		close(f.hold)
		synctest.Wait()
		f.set(rotated, nil) // after the end of the first look, and before Interval has gone by
		if len(second) != 0 {
			t.Fatal("the first look served")
		}
		checkLeaves(t, "the second look", <-second, rotated, old)
		if looks := f.looks(siteName); len(looks) != 2 || looks[1].Sub(looks[0]) != Interval {
			t.Errorf("looks began at %v, want two with %s between them", looks, Interval)
		}
		// A moment that lies ahead counts as now.
		checkLeaves(t, "since tomorrow", lookSince(t, sites, time.Now().Add(24*time.Hour)), rotated, old)
		if looks := f.looks(siteName); len(looks) != 3 {
			t.Errorf("%d looks, want 3", len(looks))
		}
	})
}

func TestALookOutlivesItsFirstCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{chains: chainsOf(t, testsite.SiteConfig{}), hold: make(chan struct{})}
		sites := newSites(t, Config{source: f.source})
		defer sites.Close()
		ctx, leave := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { _, err := sites.Await(ctx, siteName, ""); first <- err }()
		synctest.Wait()
		go func() { _, err := sites.Await(t.Context(), siteName, ""); second <- err }()
		synctest.Wait() // until both wait for the look
		leave()
		err := <-first
		if _, ok := errors.AsType[*Unavailable](err); ok || !errors.Is(err, context.Canceled) {
			t.Errorf("the caller that left got %v, want its context's error and nothing about the site", err)
		}
		close(f.hold)
		if err := <-second; err != nil || len(f.looks(siteName)) != 1 {
			t.Errorf("the other got %v after %d looks", err, len(f.looks(siteName)))
		}
	})
}

func TestFailuresServeForTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failure := &Unavailable{Site: siteName, Reason: "no answer; mend it"}
		f := &fake{err: failure}
		sites := newSites(t, Config{source: f.source})
		defer sites.Close()
		for range 3 {
			if _, err := sites.Await(t.Context(), siteName, ""); !errors.Is(err, failure) {
				t.Fatalf("error %v, want the source's", err)
			}
			time.Sleep(600 * time.Millisecond)
		}
		if looks := f.looks(siteName); len(looks) != 1 {
			t.Errorf("%d looks within two seconds, want 1", len(looks))
		}
		// Signatures that came after the look began get one of their own.
		if _, err := sites.Look(t.Context(), siteName, "", time.Now()); !errors.Is(err, failure) || len(f.looks(siteName)) != 2 {
			t.Errorf("error %v after %d looks", err, len(f.looks(siteName)))
		}
		f.set(chainsOf(t, testsite.SiteConfig{}), nil)
		time.Sleep(Interval)
		await(t, sites)
		if looks := f.looks(siteName); len(looks) != 3 {
			t.Errorf("%d looks, want 3", len(looks))
		}
		f.set(nil, failure)
		known, err := sites.Look(t.Context(), siteName, "", time.Now())
		if !errors.Is(err, failure) || len(known.Leaves) != 1 {
			t.Errorf("error %v and %d leaves, want what is known beside the failure", err, len(known.Leaves))
		}
		time.Sleep(2 * Interval)
		synctest.Wait()
		sites.mu.Lock()
		defer sites.mu.Unlock()
		if len(sites.asked) != 0 {
			t.Error("a site that nobody asks for is still remembered as asked")
		}
	})
}

func TestEveryErrorIsOneForTheUploader(t *testing.T) {
	for name, f := range map[string]*fake{
		"an error of another type": {err: errors.New("boom")},
		"no chains":                {},
		"an empty chain":           {chains: []Chain{{}}},
		"a leaf that is none":      {chains: []Chain{{Certificates: [][]byte{[]byte("hello")}}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newSites(t, Config{source: f.source}).Await(t.Context(), siteName, "")
			unavailable(t, err, siteName, "can't be used")
		})
	}
	sites := newSites(t, Config{source: (&fake{}).source})
	for _, name := range notNames() {
		_, err := sites.Look(t.Context(), name, "", time.Now())
		unavailable(t, err, name, "is not a host name")
	}
}

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
		sites.memory.see("www.flood.com", []found{{chain: chains[0], until: time.Now().Add(time.Hour)}}, time.Now(), time.Now())
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

func TestCloseEndsLooksWithoutAVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{hangs: func(string) bool { return true }}
		sites := newSites(t, Config{source: f.source})
		results := make(chan error, 20)
		for i := range cap(results) { // eight run, the others wait
			go func() { _, err := sites.Await(t.Context(), fmt.Sprintf("s%d.example.com", i), ""); results <- err }()
		}
		synctest.Wait()
		sites.Close()
		_, later := sites.Await(t.Context(), siteName, "")
		errs := []error{later}
		for range cap(results) {
			errs = append(errs, <-results)
		}
		for _, err := range errs {
			if _, ok := errors.AsType[*Unavailable](err); ok || !errors.Is(err, ErrClosed) {
				t.Errorf("error %v, want ErrClosed and nothing about the site", err)
			}
		}
		sites.Close()
	})
}

func TestConfigIsChecked(t *testing.T) {
	if sites, err := New(Config{Grace: -1}); err == nil {
		sites.Close()
		t.Error("a negative grace period is accepted")
	}
}

// gauge is what a gauge of the registry says.
func gauge(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}
