package certs

// The cache turns many questions about a site into few. It asks the source about a site once at a time. It asks again
// an hour after an answer, a minute after a failure, and once more in a minute where signatures fail under what is
// cached, because certificates rotate.
//
// otter keeps the answers, bounded and each with its own time of expiry. fetch.go asks the source.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
)

// ErrClosed is wrapped by the errors of a Cache that was closed before it found
// out: it says nothing about the site.
var ErrClosed = errors.New("the certificate cache is closed")

// ErrBusy is wrapped by errors that come because too many other sites are being
// asked. They say nothing about the site: ask again.
var ErrBusy = errors.New("too many sites are being asked for their certificates")

// CacheConfig sizes a [Cache]. The zero value has the defaults of docs/design.md, "Certificates".
type CacheConfig struct {
	// Entries is how many sites, and how many keys, are remembered. 0: 4096.
	Entries int
	// Success is how long chains are taken as what the site serves; less where
	// a certificate in them expires sooner. 0: 1 h.
	Success time.Duration
	// Failure is how long a site isn't asked again that gave none. 0: 1 min.
	Failure time.Duration
	// Refetch is the least time between two fetches of one site by
	// [Cache.Refetch]. 0: 1 min.
	Refetch time.Duration
	// Clock measures all of them. Nil: time.Now.
	Clock func() time.Time
}

// Entry is what the cache knows of a site. It is immutable and shared.
type Entry struct {
	Chains []Chain
	Keys   []Key // of Chains, in their order
}

// Cache remembers what a [Source] said, failures too, and the keys made from
// it. It is safe for concurrent use. Close ends its fetches.
type Cache struct {
	source  Source
	config  CacheConfig
	answers *otter.Cache[string, *answer]
	keys    *otter.Cache[[32]byte, Key] // by fingerprint

	ctx    context.Context // of every fetch
	cancel context.CancelFunc

	mu      sync.Mutex // guards the fields below, every write to answers, and answer.refetched
	closed  bool
	fetches map[string]*fetch // under way, by site
	running sync.WaitGroup    // the fetches' goroutines; Go is called under mu, and only while the cache isn't closed
}

// answer is what the source said of a site: either an entry or an error.
type answer struct {
	entry     *Entry
	err       error
	refetched time.Time     // when the last Refetch of entry began; zero: never
	lifetime  time.Duration // how long it is cached; zero: it is not, because it says nothing about the site
}

// NewCache makes a cache over source. The error is about the configuration.
func NewCache(source Source, config CacheConfig) (*Cache, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	lifetime := func(e otter.Entry[string, *answer]) time.Duration { return e.Value.lifetime }
	answers, err := otter.New(&otter.Options[string, *answer]{
		MaximumSize:      config.Entries,
		Clock:            nanoClock(config.Clock),
		ExpiryCalculator: otter.ExpiryWritingFunc(lifetime),
	})
	if err != nil {
		return nil, fmt.Errorf("making the certificate cache: %w", err)
	}
	keys, err := otter.New(&otter.Options[[32]byte, Key]{MaximumSize: config.Entries})
	if err != nil {
		return nil, fmt.Errorf("making the key cache: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Cache{
		source: source, config: config, answers: answers, keys: keys,
		ctx: ctx, cancel: cancel, fetches: make(map[string]*fetch),
	}, nil
}

// withDefaults returns the configuration with its gaps filled, or an error that says which values can't be.
func (c CacheConfig) withDefaults() (CacheConfig, error) {
	var errs []error
	for _, d := range []struct {
		name     string
		value    *time.Duration
		standard time.Duration
	}{
		{"success", &c.Success, time.Hour}, {"failure", &c.Failure, time.Minute}, {"refetch", &c.Refetch, time.Minute},
	} {
		if *d.value < 0 {
			errs = append(errs, fmt.Errorf("certificate cache: the %s time is %s; it must be positive, or 0 for %s",
				d.name, *d.value, d.standard))
		}
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	const entries = 4096
	if c.Entries < 0 {
		errs = append(errs, fmt.Errorf("certificate cache: room for %d entries; it must be positive, or 0 for %d",
			c.Entries, entries))
	}
	if c.Entries == 0 {
		c.Entries = entries
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return c, errors.Join(errs...)
}

// Close ends the fetches under way and waits for them. Afterwards what is
// cached can still be had; whatever needs a fetch fails with [ErrClosed].
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.running.Wait()
	c.answers.StopAllGoroutines()
}

// Get gives what is cached for site, or fetches it. The error is the source's *[Unavailable], which may be a cached
// one; or it wraps ctx's error, [ErrClosed] or [ErrBusy], which say nothing about the site.
func (c *Cache) Get(ctx context.Context, site string) (*Entry, error) {
	if a, ok := c.answers.GetIfPresent(site); ok {
		return a.entry, a.err
	}
	c.mu.Lock()
	if a, ok := c.answers.GetIfPresent(site); ok { // a fetch has ended since
		c.mu.Unlock()
		return a.entry, a.err
	}
	f := c.joinOrStart(site)
	c.mu.Unlock()
	a, err := f.wait(ctx, site)
	if err != nil {
		return nil, err
	}
	return a.entry, a.err
}

// Refetch is for signatures that fail under seen, which Get or Refetch gave: the site may have new keys. It gives an
// entry with other keys where the cache has one or can fetch one. It gives seen itself where the site still serves
// seen's keys, where the site gives no answer now, and where a Refetch of the site began less than CacheConfig.Refetch
// ago. The error wraps ctx's error, [ErrClosed] or [ErrBusy]. If seen is nil, Refetch does what Get does, with the
// errors of Get.
func (c *Cache) Refetch(ctx context.Context, site string, seen *Entry) (*Entry, error) {
	if seen == nil {
		return c.Get(ctx, site)
	}
	c.mu.Lock()
	cached, _ := c.answers.GetIfPresent(site)
	if cached != nil && !c.mayChange(site, cached, seen) {
		c.mu.Unlock()
		return cached.newerThan(seen)
	}
	f := c.joinOrStart(site)
	c.mu.Unlock()
	a, err := f.wait(ctx, site)
	if err != nil {
		return nil, err
	}
	return a.newerThan(seen)
}

// mayChange reports whether a fetch, one under way or a new one, may give other keys than seen's, which are what is
// cached. A new one is due when the last Refetch is long enough ago. The caller holds mu.
func (c *Cache) mayChange(site string, cached *answer, seen *Entry) bool {
	due := c.config.Clock().Sub(cached.refetched) >= c.config.Refetch
	return cached.entry.same(seen) && (due || c.fetches[site] != nil)
}

// newerThan returns a's entry, or seen if a has the same keys or is a failure of the site. An error that says nothing
// about the site is returned.
func (a *answer) newerThan(seen *Entry) (*Entry, error) {
	switch {
	case errors.Is(a.err, ErrClosed), errors.Is(a.err, ErrBusy):
		return nil, a.err
	case a.entry == nil || a.entry.same(seen):
		return seen, nil
	}
	return a.entry, nil
}

// KeysOf makes the keys of chains, in their order, without asking whether the certificates are valid now: it serves
// chains that an upload was decided by before. Keys that the cache has are shared. It fetches nothing.
func (c *Cache) KeysOf(chains []Chain) ([]Key, error) {
	keys := make([]Key, 0, len(chains))
	for _, chain := range chains {
		fingerprint := chain.Fingerprint()
		key, ok := c.keys.GetIfPresent(fingerprint)
		if !ok {
			var err error
			if key, err = keyOf(chain); err != nil {
				return nil, err
			}
			// If another caller has stored a key meanwhile, that one is kept: it may have built its tables by now.
			if kept, added := c.keys.SetIfAbsent(fingerprint, key); !added {
				key = kept
			}
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// same reports whether both are of the same leaves. A nil entry is of none.
func (e *Entry) same(other *Entry) bool {
	return e != nil && slices.EqualFunc(e.Keys, other.Keys, func(a, b Key) bool { return a.Fingerprint == b.Fingerprint })
}

// nanoClock is a clock as otter wants it. It has no ticks: an expired answer is removed when another one is stored, and
// the bound on their number holds all the same.
type nanoClock func() time.Time

func (c nanoClock) NowNano() int64                      { return c().UnixNano() }
func (c nanoClock) Tick(time.Duration) <-chan time.Time { return nil }
