package certs

// A fetch is one call of the cache's source, on a goroutine of the cache's own. Callers wait for it and may leave: it
// ends with the source or with Close, never with a caller's context, so a caller that gives up costs the others
// nothing.
//
// golang.org/x/sync/singleflight was considered and does not fit. Its DoChan lets callers leave, too. But Refetch has
// to know whether a fetch is under way: within a minute after one began, a caller whose signatures fail must wait for
// it while it runs, and must not start another one when it has ended. Singleflight doesn't tell. Close must wait until
// all fetches have ended, also those that every caller has left, and singleflight offers nothing to wait for. With both
// added here, there would be a second map beside singleflight's. otter's own loading does not fit either: a load there
// ends with the context of its first caller.

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// fetch is one call of the source. answer may be read once done is closed.
type fetch struct {
	done   chan struct{}
	answer *answer
}

// joinOrStart returns the fetch of site that is under way, or starts one. It returns nil where the cache is closed. The
// caller holds mu.
func (c *Cache) joinOrStart(site string) *fetch {
	if f, underWay := c.fetches[site]; underWay {
		return f
	}
	if c.closed {
		return nil
	}
	if cached, ok := c.answers.GetIfPresent(site); ok {
		cached.refetched = c.config.Clock()
	}
	f := &fetch{done: make(chan struct{})}
	c.fetches[site] = f
	c.running.Go(func() { c.run(site, f) })
	return f
}

// wait returns the answer of a fetch, or an error where ctx ends first or the cache was closed and there is no fetch.
func (f *fetch) wait(ctx context.Context, site string) (*answer, error) {
	if f == nil {
		return nil, fmt.Errorf("getting the certificate of %s: %w", site, ErrClosed)
	}
	select {
	case <-f.done:
		return f.answer, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the certificate of %s: %w", site, ctx.Err())
	}
}

// run asks the source and stores the answer. The answer is stored before the fetch is removed, so that a
// caller who holds mu finds at least one of them.
func (c *Cache) run(site string, f *fetch) {
	f.answer = c.ask(site)
	c.mu.Lock()
	c.store(site, f.answer)
	delete(c.fetches, site)
	c.mu.Unlock()
	close(f.done)
}

// store caches an answer. An entry that was fetched again keeps its time of refetching, and stays the same *Entry if
// its keys are the same. A failure doesn't replace an entry that is still good. The caller holds mu.
func (c *Cache) store(site string, a *answer) {
	cached, _ := c.answers.GetIfPresent(site)
	if cached != nil {
		a.refetched = cached.refetched
	}
	if a.entry == nil && (cached != nil || a.lifetime == 0) {
		return
	}
	if cached != nil && a.entry.same(cached.entry) {
		a.entry = cached.entry
	}
	c.answers.Set(site, a)
}

// ask calls the source. An answer that says nothing about the site gets no lifetime.
func (c *Cache) ask(site string) *answer {
	chains, err := c.source(c.ctx, site)
	var keys []Key
	if err == nil {
		keys, err = c.KeysOf(chains)
	}
	if err == nil && len(keys) == 0 {
		err = errors.New("the source gave no chain")
	}
	if err == nil {
		// At least as long as a failure: a certificate in its last seconds would be asked for again and again.
		lifetime := min(c.config.Success, max(untilExpiry(chains, c.config.Clock()), c.config.Failure))
		return &answer{entry: &Entry{Chains: chains, Keys: keys}, lifetime: lifetime}
	}
	if c.ctx.Err() != nil {
		return &answer{err: fmt.Errorf("getting the certificate of %s: %w", site, ErrClosed)}
	}
	if errors.Is(err, ErrBusy) {
		return &answer{err: err}
	}
	if _, ok := errors.AsType[*Unavailable](err); !ok {
		reason := site + ": its certificate can't be used; tell the operator of this service"
		err = &Unavailable{Site: site, Reason: reason, Err: err}
	}
	return &answer{err: err, lifetime: c.config.Failure}
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
