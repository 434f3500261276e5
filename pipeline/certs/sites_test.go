package certs

import (
	"context"
	"crypto/elliptic"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"countersign/testsite"
)

// fake is a source that tests steer: it counts its calls, and waits in each
// while it is held.
type fake struct {
	mu     sync.Mutex
	calls  int
	chains []Chain
	err    error
	hold   chan struct{} // nil: answers at once
}

func (f *fake) source(ctx context.Context, _ string) ([]Chain, error) {
	f.mu.Lock()
	f.calls++
	hold := f.hold
	f.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.chains, f.err
}

func (f *fake) set(chains []Chain, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.chains, f.err = chains, err
}

func (f *fake) called() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func newCache(t *testing.T, f *fake, config CacheConfig) *Cache {
	t.Helper()
	cache, err := NewCache(f.source, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cache.Close)
	return cache
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

func get(t *testing.T, c *Cache) *Entry {
	t.Helper()
	entry, err := c.Get(t.Context(), siteName)
	if err != nil {
		t.Fatal(err)
	}
	return entry
}

func refetch(t *testing.T, c *Cache, seen *Entry) *Entry {
	t.Helper()
	entry, err := c.Refetch(t.Context(), siteName, seen)
	if err != nil {
		t.Fatal(err)
	}
	return entry
}

func TestCacheAsksOnceForAnHour(t *testing.T) {
	clock, f := newClock(), &fake{chains: chainsOf(t, testsite.SiteConfig{})}
	cache := newCache(t, f, CacheConfig{Clock: clock.Now})
	entry := get(t, cache)
	if entry.Keys[0].Fingerprint != f.chains[0].Fingerprint() {
		t.Errorf("the key of another certificate: %x", entry.Keys[0].Fingerprint)
	}
	clock.Advance(time.Hour - time.Second)
	if get(t, cache) != entry || f.called() != 1 {
		t.Errorf("within the hour: another entry, or %d calls", f.called())
	}
	clock.Advance(2 * time.Second)
	if get(t, cache); f.called() != 2 {
		t.Errorf("after the hour: %d calls, want 2", f.called())
	}
}

func TestCacheForgetsWithTheCertificate(t *testing.T) {
	clock := newClock()
	f := &fake{chains: chainsOf(t, testsite.SiteConfig{NotAfter: clock.Now().Add(10 * time.Minute)})}
	cache := newCache(t, f, CacheConfig{Clock: clock.Now})
	get(t, cache)
	clock.Advance(11 * time.Minute)
	f.set(nil, &Unavailable{Site: siteName, Reason: "expired; renew it"})
	if _, err := cache.Get(t.Context(), siteName); err == nil {
		t.Error("an expired certificate is still given")
	}
}

func TestCacheAsksOnceForAHundredCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{chains: chainsOf(t, testsite.SiteConfig{}), hold: make(chan struct{})}
		cache := newCache(t, f, CacheConfig{})
		entries := make(chan *Entry, 100)
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() {
				entry, err := cache.Get(t.Context(), siteName)
				if err != nil {
					t.Error(err)
				}
				entries <- entry
			})
		}
		synctest.Wait() // until all of them wait for the one fetch
		close(f.hold)
		callers.Wait()
		close(entries)
		first := <-entries
		for entry := range entries {
			if entry != first {
				t.Fatal("callers got different entries")
			}
		}
		if f.called() != 1 {
			t.Errorf("%d calls, want 1", f.called())
		}
	})
}

func TestCacheFetchOutlivesItsFirstCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{chains: chainsOf(t, testsite.SiteConfig{}), hold: make(chan struct{})}
		cache := newCache(t, f, CacheConfig{})
		ctx, leave := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { _, err := cache.Get(ctx, siteName); first <- err }()
		synctest.Wait()
		go func() { _, err := cache.Get(t.Context(), siteName); second <- err }()
		synctest.Wait() // until both wait for the fetch
		leave()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("the caller that left got %v", err)
		}
		close(f.hold)
		if err := <-second; err != nil || f.called() != 1 {
			t.Errorf("the other got %v after %d calls", err, f.called())
		}
	})
}

func TestCacheRemembersFailuresForAMinute(t *testing.T) {
	clock := newClock()
	failure := &Unavailable{Site: siteName, Reason: "no answer; mend it"}
	f := &fake{err: failure}
	cache := newCache(t, f, CacheConfig{Clock: clock.Now})
	for range 3 {
		if _, err := cache.Get(t.Context(), siteName); err != error(failure) {
			t.Fatalf("error %v, want the source's", err)
		}
		clock.Advance(20 * time.Second)
	}
	if f.called() != 1 {
		t.Errorf("%d calls within the minute, want 1", f.called())
	}
	f.set(chainsOf(t, testsite.SiteConfig{}), nil)
	clock.Advance(time.Second)
	if get(t, cache); f.called() != 2 {
		t.Errorf("%d calls after the minute, want 2", f.called())
	}
}

func TestCacheMakesEveryErrorOneForTheUploader(t *testing.T) {
	for name, f := range map[string]*fake{
		"an error of another type": {err: errors.New("boom")},
		"no chains":                {},
		"an empty chain":           {chains: []Chain{{}}},
		"a leaf that is none":      {chains: []Chain{{Certificates: [][]byte{[]byte("hello")}}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newCache(t, f, CacheConfig{}).Get(t.Context(), siteName)
			unavailable(t, err, siteName, "can't be used")
		})
	}
}

func TestRefetchFindsRotatedKeysOnceAMinute(t *testing.T) {
	clock := newClock()
	old, new1, new2 := chainsOf(t, testsite.SiteConfig{}), chainsOf(t, testsite.SiteConfig{}), chainsOf(t, testsite.SiteConfig{})
	f := &fake{chains: old}
	cache := newCache(t, f, CacheConfig{Clock: clock.Now})
	seen := get(t, cache)

	// The first time needs no wait: the site may rotate right after a fetch.
	f.set(new1, nil)
	first := refetch(t, cache, seen)
	if first == seen || first.Keys[0].Fingerprint != new1[0].Fingerprint() || f.called() != 2 {
		t.Fatalf("the rotated key wasn't fetched, in %d calls", f.called())
	}
	if get(t, cache) != first {
		t.Error("Get gives another entry than Refetch")
	}
	if refetch(t, cache, seen) != first || f.called() != 2 {
		t.Error("whoever still has the old entry should get the new one without a fetch")
	}

	// Not again within the minute, not even after another rotation.
	f.set(new2, nil)
	clock.Advance(59 * time.Second)
	if refetch(t, cache, first) != first || f.called() != 2 {
		t.Errorf("refetched within the minute: %d calls", f.called())
	}
	clock.Advance(time.Second)
	if second := refetch(t, cache, first); second.Keys[0].Fingerprint != new2[0].Fingerprint() || f.called() != 3 {
		t.Errorf("not refetched after the minute: %d calls", f.called())
	}
}

func TestRefetchGivesWhatWasSeenWhereNothingIsNew(t *testing.T) {
	clock, f := newClock(), &fake{chains: chainsOf(t, testsite.SiteConfig{})}
	cache := newCache(t, f, CacheConfig{Clock: clock.Now})
	seen := get(t, cache)
	for i := range 3 {
		if refetch(t, cache, seen) != seen || f.called() != 2+i {
			t.Errorf("unchanged: another entry, or %d calls, want %d", f.called(), 2+i)
		}
		clock.Advance(time.Minute)
	}

	// Seen again counts as fetched: the hour starts anew.
	clock.Advance(58 * time.Minute)
	if get(t, cache) != seen || f.called() != 4 {
		t.Errorf("the refetched entry was forgotten: %d calls", f.called())
	}

	// A site that is away now doesn't lose what is cached, and isn't asked
	// again for a minute either.
	f.set(nil, &Unavailable{Site: siteName, Reason: "away; come back"})
	for range 3 {
		if refetch(t, cache, seen) != seen || get(t, cache) != seen || f.called() != 5 {
			t.Errorf("away: another entry, or %d calls, want 5", f.called())
		}
	}
	clock.Advance(2 * time.Hour)
	if refetch(t, cache, seen) != seen {
		t.Error("away and forgotten: another entry than what was seen")
	}
	if _, err := cache.Get(t.Context(), siteName); err == nil {
		t.Error("away and forgotten: Get gives an entry")
	}
}

func TestRefetchAsksOnceForAHundredCallers(t *testing.T) {
	f := &fake{chains: chainsOf(t, testsite.SiteConfig{})}
	cache := newCache(t, f, CacheConfig{})
	seen := get(t, cache)
	f.set(chainsOf(t, testsite.SiteConfig{}), nil)
	var callers sync.WaitGroup
	for range 100 {
		callers.Go(func() {
			if entry, err := cache.Refetch(t.Context(), siteName, seen); err != nil || entry == seen {
				t.Errorf("the old entry, or error %v", err)
			}
		})
	}
	callers.Wait()
	if f.called() != 2 {
		t.Errorf("%d calls, want 2", f.called())
	}
}

func TestRefetchOfNothingIsGet(t *testing.T) {
	f := &fake{chains: chainsOf(t, testsite.SiteConfig{})}
	cache := newCache(t, f, CacheConfig{})
	if refetch(t, cache, nil) != get(t, cache) || f.called() != 1 {
		t.Errorf("another entry than Get's, or %d calls", f.called())
	}
}

func TestCloseEndsFetchesWithoutAVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{hold: make(chan struct{})}
		cache, err := NewCache(f.source, CacheConfig{})
		if err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() { _, err := cache.Get(t.Context(), siteName); result <- err }()
		synctest.Wait()
		cache.Close()
		_, later := cache.Get(t.Context(), siteName)
		for _, err := range []error{<-result, later} {
			if _, ok := errors.AsType[*Unavailable](err); ok || !errors.Is(err, ErrClosed) {
				t.Errorf("error %v, want ErrClosed and nothing about the site", err)
			}
		}
		cache.Close()
	})
}

func TestCacheStaysWithinItsBound(t *testing.T) {
	f := &fake{err: &Unavailable{Reason: "away; come back"}}
	cache := newCache(t, f, CacheConfig{Entries: 10})
	for i := range 1000 {
		if _, err := cache.Get(t.Context(), fmt.Sprintf("%d.example", i)); err == nil {
			t.Fatal("no error")
		}
	}
	cache.answers.CleanUp()
	if size := cache.answers.EstimatedSize(); size > 10 || len(cache.fetches) != 0 {
		t.Errorf("%d answers and %d fetches are kept, want at most 10 and none", size, len(cache.fetches))
	}
}

func TestCacheConfigIsChecked(t *testing.T) {
	for _, config := range []CacheConfig{{Entries: -1}, {Success: -1}, {Failure: -1}, {Refetch: -1}} {
		if cache, err := NewCache((&fake{}).source, config); err == nil {
			cache.Close()
			t.Errorf("%+v is accepted", config)
		}
	}
}

// The whole chain of sources, as the service has it: rotation at a real site.
func TestRotationIsNoticed(t *testing.T) {
	ca := newCA(t)
	site, address := serve(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P256()})
	cache, err := NewCache(Network(at(ca, address)), CacheConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cache.Close)
	seen := get(t, cache)
	if err := site.Rotate(testsite.SiteConfig{Curve: elliptic.P256()}); err != nil {
		t.Fatal(err)
	}
	entry := refetch(t, cache, seen)
	checkServed(t, site, entry.Chains[0], kindECDSA)
	site.Close() // waits until the handshakes that were made are counted
	handshakes := site.Handshakes()
	if refetch(t, cache, entry) != entry || site.Handshakes() != handshakes {
		t.Error("a second refetch within the minute")
	}
}
