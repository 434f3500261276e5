package certs

// The cache turns many questions about a site into few: one at a time, one an
// hour if it was answered, one a minute if it wasn't, and one more a minute
// where signatures fail under what is cached, since certificates rotate.
//
// A fetch is a flight: a goroutine of the cache's own, which callers wait for
// and may leave. It ends with the source or with Close, never with a caller's
// context, so one caller's impatience costs the others nothing.
//
// otter keeps the answers, bounded and with a time of expiry for each; its own
// loading isn't used, because a load there ends with its first caller's
// context.

import (
	"context"
	"crypto/x509"
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

const usualEntries = 4096

// CacheConfig sizes a [Cache]. The zero value has the defaults of the design.
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
	// FetchedAt is when the site was first seen with these chains, by the
	// cache's clock.
	FetchedAt time.Time
}

// Cache remembers what a [Source] said, failures too, and the keys made from
// it. It is safe for concurrent use. Close ends its fetches.
type Cache struct {
	source  Source
	config  CacheConfig
	answers *otter.Cache[string, *answer]
	keys    *otter.Cache[[32]byte, Key] // by fingerprint

	ctx    context.Context // of every flight
	cancel context.CancelFunc

	mu      sync.Mutex // guards what follows, every write to answers, and answer.refetched
	closed  bool
	flights map[string]*flight
	running sync.WaitGroup // the flights' goroutines; Add under mu and only while not closed
}

// answer is a source's: either an entry or an error.
type answer struct {
	entry     *Entry
	err       error
	refetched time.Time     // when the last Refetch of entry began; zero: never
	life      time.Duration // from when it is stored
}

// flight is one call of the source. answer may be read once done is closed.
type flight struct {
	done   chan struct{}
	answer *answer
}

// NewCache makes a cache over source. The error is about the configuration.
func NewCache(source Source, config CacheConfig) (*Cache, error) {
	if config.Clock == nil {
		config.Clock = time.Now
	}
	if err := errors.Join(
		orUsual(&config.Success, time.Hour, "success"),
		orUsual(&config.Failure, time.Minute, "failure"),
		orUsual(&config.Refetch, time.Minute, "refetch"),
	); err != nil {
		return nil, err
	}
	if config.Entries < 0 {
		return nil, fmt.Errorf("certificate cache: room for %d entries; it must be positive, or 0 for %d", config.Entries, usualEntries)
	}
	if config.Entries == 0 {
		config.Entries = usualEntries
	}
	answers, err := otter.New(&otter.Options[string, *answer]{
		MaximumSize:      config.Entries,
		Clock:            nanoClock(config.Clock),
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[string, *answer]) time.Duration { return e.Value.life }),
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
		ctx: ctx, cancel: cancel, flights: make(map[string]*flight),
	}, nil
}

// orUsual fills in a duration that was left zero.
func orUsual(d *time.Duration, usual time.Duration, name string) error {
	if *d < 0 {
		return fmt.Errorf("certificate cache: the %s time is %s; it must be positive, or 0 for %s", name, *d, usual)
	}
	if *d == 0 {
		*d = usual
	}
	return nil
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

// Get gives what is cached for site, or fetches it. The error is the source's
// *[Unavailable], which may be a cached one; or wraps ctx's error or
// [ErrClosed] or [ErrBusy], which say nothing about the site.
func (c *Cache) Get(ctx context.Context, site string) (*Entry, error) {
	if a, ok := c.answers.GetIfPresent(site); ok {
		return a.entry, a.err
	}
	a, err := c.fetch(ctx, site, func(cached *answer, _ bool) bool { return cached == nil })
	if err != nil {
		return nil, err
	}
	return a.entry, a.err
}

// Refetch is for signatures that fail under seen, which Get or Refetch gave:
// the site may have new keys. It gives an entry with other keys where the cache
// has or can fetch one, at most once in CacheConfig.Refetch for each site, and
// seen itself where there is none, where it isn't time, or where the site gives
// no answer now. The error wraps ctx's error, [ErrClosed] or [ErrBusy], but for a nil
// seen, with which Refetch is Get.
func (c *Cache) Refetch(ctx context.Context, site string, seen *Entry) (*Entry, error) {
	if seen == nil {
		return c.Get(ctx, site)
	}
	a, err := c.fetch(ctx, site, func(cached *answer, flying bool) bool {
		if cached == nil {
			return true
		}
		due := c.config.Clock().Sub(cached.refetched) >= c.config.Refetch
		return cached.entry.same(seen) && (flying || due)
	})
	if err != nil {
		return nil, err
	}
	switch {
	case errors.Is(a.err, ErrClosed), errors.Is(a.err, ErrBusy):
		return nil, a.err
	case a.entry == nil || a.entry.same(seen):
		return seen, nil
	}
	return a.entry, nil
}

// KeysOf makes the keys of chains, in their order, like the function of that
// name, but shares those that the cache has. It fetches nothing.
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
			// Whoever came first is kept, with the tables it may have by now.
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

// want decides, under mu, whether to wait for a flight, by what is cached (nil:
// nothing) and whether one is under way.
type want func(cached *answer, flying bool) bool

// fetch waits for a flight for site, the one under way or its own, if it is
// wanted, and otherwise gives what is cached.
func (c *Cache) fetch(ctx context.Context, site string, wanted want) (*answer, error) {
	f, cached := c.board(site, wanted)
	switch {
	case f == nil && cached == nil:
		return nil, fmt.Errorf("getting the certificate of %s: %w", site, ErrClosed)
	case f == nil:
		return cached, nil
	}
	select {
	case <-f.done:
		return f.answer, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the certificate of %s: %w", site, ctx.Err())
	}
}

// board gives the flight to wait for, or else what is cached. Both are nil
// where a flight is wanted and the cache is closed.
func (c *Cache) board(site string, wanted want) (*flight, *answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cached, _ := c.answers.GetIfPresent(site)
	f, flying := c.flights[site]
	switch {
	case !wanted(cached, flying):
		return nil, cached
	case flying:
		return f, nil
	case c.closed:
		return nil, nil
	}
	if cached != nil {
		cached.refetched = c.config.Clock()
	}
	f = &flight{done: make(chan struct{})}
	c.flights[site] = f
	c.running.Go(func() { c.fly(site, f) })
	return f, nil
}

// fly asks the source and lands the answer: stored first, then taken off the
// flights, so that nobody finds neither.
func (c *Cache) fly(site string, f *flight) {
	f.answer = c.ask(site)
	c.mu.Lock()
	c.land(site, f.answer)
	delete(c.flights, site)
	c.mu.Unlock()
	close(f.done)
}

// land stores an answer under mu. An entry that was fetched again keeps its
// time of refetching; a failure doesn't replace one that is still good.
func (c *Cache) land(site string, a *answer) {
	cached, _ := c.answers.GetIfPresent(site)
	if cached != nil {
		a.refetched = cached.refetched
	}
	if a.entry == nil && (cached != nil || a.life == 0) {
		return
	}
	if cached != nil && a.entry.same(cached.entry) {
		a.entry = cached.entry
	}
	c.answers.Set(site, a)
}

// ask calls the source. What says nothing about the site gets no life.
func (c *Cache) ask(site string) *answer {
	chains, err := c.source(c.ctx, site)
	now := c.config.Clock()
	var keys []Key
	if err == nil {
		keys, err = c.KeysOf(chains)
	}
	if err == nil && len(keys) == 0 {
		err = errors.New("the source gave no chain")
	}
	if err == nil {
		// No shorter than a failure, or a certificate in its last seconds would
		// be asked for again and again.
		life := min(c.config.Success, max(untilExpiry(chains, now), c.config.Failure))
		return &answer{entry: &Entry{Chains: chains, Keys: keys, FetchedAt: now}, life: life}
	}
	if c.ctx.Err() != nil {
		return &answer{err: fmt.Errorf("getting the certificate of %s: %w", site, ErrClosed)}
	}
	if errors.Is(err, ErrBusy) {
		return &answer{err: err}
	}
	if _, ok := errors.AsType[*Unavailable](err); !ok {
		err = &Unavailable{Site: site, Reason: site + ": its certificate can't be used; tell the operator of this service", Err: err}
	}
	return &answer{err: err, life: c.config.Failure}
}

// untilExpiry is how long all certificates of chains are valid from now.
func untilExpiry(chains []Chain, now time.Time) time.Duration {
	left := time.Duration(1<<63 - 1)
	for _, chain := range chains {
		for _, der := range chain.Certificates {
			if certificate, err := x509.ParseCertificate(der); err == nil {
				left = min(left, certificate.NotAfter.Sub(now))
			}
		}
	}
	return left
}

// nanoClock is otter's view of a clock. It has no ticks: what has expired goes
// when something else is stored, and the bound holds all the same.
type nanoClock func() time.Time

func (c nanoClock) NowNano() int64                      { return c().UnixNano() }
func (c nanoClock) Tick(time.Duration) <-chan time.Time { return nil }
