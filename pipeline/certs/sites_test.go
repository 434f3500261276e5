package certs

// Looks that several callers share, and what is known by them.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"countersign/testsite"
)

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
