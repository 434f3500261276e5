package admission

// A fixed number of places, shared by clients.
//
// A free place is given at once. When none is free, newcomers wait, and a place that comes free goes to the waiter
// whose client holds fewest; among those to one that was not struck lately (see account), then to one whose domain
// holds fewest, then to the first. So a client with no place is next, however many wait, and nothing is held back: one
// client alone gets all places.
//
// Shares are counted by client and not by site. Anybody may name any site: were its places counted for all who name it,
// sixty slow bodies for a site from somewhere would lock out the site itself. The domain only decides between clients
// that are equal otherwise, and only where a site can hold places by being silent, which is in synchronous calls.
//
// Rejected: places held back for newcomers (a bulk uploader alone would never get them); a place for each client (there
// are more clients than places); lots or the last first, which are kinder on average and promise nothing.

import (
	"cmp"
	"context"
	"sync"
	"time"

	"countersign/internal/fifo"
)

// Who is what a place is charged to.
type Who struct {
	Client Client
	Domain string // of the site; empty: the request is about none
}

// mostStruck is how many clients without places are remembered as struck. Each takes some 100 bytes.
const mostStruck = 4096

// Gate is places of one kind. It is safe for concurrent use.
type Gate struct {
	name     string
	places   int
	grace    time.Duration // with which the allowance of a place starts
	perByte  time.Duration // what a byte adds to the allowance; 0: there are no bytes to wait for
	byDomain bool          // domains are counted
	cfg      *Config
	counts   gateCounts
	began    time.Time
	struck   *fifo.Map[Client, record] // of clients without places
	// struckToo are told of clients that are struck.
	struckToo []*Pace

	mu      sync.Mutex
	clients map[Client]*account // those that hold or wait; guarded by mu
	domains map[string]*account // guarded by mu
	held    []*Place            // in no order; guarded by mu
	waiting []*waiter           // in order of arrival; guarded by mu
	leaving int                 // places in held that were taken back and are not released yet; guarded by mu
	entries uint64              // places given so far; guarded by mu
	review  *time.Timer         // calls reviewPlaces; nil before it was first needed; guarded by mu
	armed   bool                // review will fire; guarded by mu
}

// account is what a client or a domain has of a gate. It is guarded by the gate's mu.
type account struct {
	held    int
	leaving int // of held
	waiting int
	planned int // places that are on their way to it, while a review runs
	record
}

// record is what is remembered of a client.
type record struct {
	// struckUntil ends the time in which a client comes after others that hold as many places: it lost a place to
	// slowness, or asked for more than its share while others waited.
	struckUntil time.Duration
	// slowUntil ends the time in which its places have a quarter of the grace: it lost one to slowness.
	slowUntil time.Duration
}

// keeps is how many places are left when those taken back are released.
func (a *account) keeps() int { return a.held - a.leaving }

// Place is one place, held until Release. Await and Received belong to one goroutine.
type Place struct {
	allowance
	gate   *Gate
	who    Who
	client *account
	domain *account
	number uint64 // of its entry

	index  int                     // in held; -1: released; guarded by the gate's mu
	cause  error                   // why it was taken back; guarded by the gate's mu
	cancel context.CancelCauseFunc // of the latest Context; nil: none; guarded by the gate's mu
}

// waiter is a request that waits for a place.
type waiter struct {
	who     Who
	client  *account
	domain  *account
	since   time.Duration
	decided chan struct{} // closed once place or refusal is set
	place   *Place        // set under the gate's mu, read after decided
	refusal *Refusal      // set under the gate's mu, read after decided
}

func newGate(name string, places int, cfg *Config, m *metrics) *Gate {
	return &Gate{
		name: name, places: places, cfg: cfg, counts: m.gate(name), began: cfg.Clock(), struck: fifo.New[Client, record](mostStruck),
		clients: make(map[Client]*account), domains: make(map[string]*account),
	}
}

// elapsed is the time of the gate.
func (g *Gate) elapsed() time.Duration { return g.cfg.Clock().Sub(g.began) }

// Enter returns a place, after waiting up to Config.MaxWait for it. The error is a *Refusal, or the cause of ctx's end.
func (g *Gate) Enter(ctx context.Context, who Who) (*Place, error) {
	if !g.byDomain {
		who.Domain = ""
	}
	g.mu.Lock()
	client, domain := g.accounts(who)
	if len(g.held) < g.places {
		p := g.give(who, client, domain)
		g.arm()
		g.mu.Unlock()
		g.counts.granted.Inc()
		return p, nil
	}
	w := &waiter{who: who, client: client, domain: domain, since: g.elapsed(), decided: make(chan struct{})}
	if refusal := g.admitWaiter(w); refusal != nil {
		g.forgetEmpty(who, client, domain)
		g.mu.Unlock()
		g.counts.refused(refusal)
		return nil, refusal
	}
	g.mu.Unlock()
	return g.wait(ctx, w)
}

// accounts returns the accounts of who. When they may have become empty, forgetEmpty must be called.
func (g *Gate) accounts(who Who) (client, domain *account) {
	if client = g.clients[who.Client]; client == nil {
		client = new(account)
		client.record, _ = g.struck.Get(who.Client)
		g.clients[who.Client] = client
	}
	if domain = g.domains[who.Domain]; domain == nil {
		domain = new(account)
		g.domains[who.Domain] = domain
	}
	return client, domain
}

// forgetEmpty forgets accounts that have nothing.
func (g *Gate) forgetEmpty(who Who, client, domain *account) {
	if client.held+client.waiting == 0 {
		if client.struckUntil > g.elapsed() {
			g.struck.Put(who.Client, client.record)
		}
		delete(g.clients, who.Client)
	}
	if domain.held+domain.waiting == 0 {
		delete(g.domains, who.Domain)
	}
}

// give makes a place. There must be a free one.
func (g *Gate) give(who Who, client, domain *account) *Place {
	g.entries++
	p := &Place{gate: g, who: who, client: client, domain: domain, number: g.entries, index: len(g.held)}
	p.left = g.grace
	if p.left != never && client.slowUntil > 0 && client.slowUntil > g.elapsed() {
		p.left /= 4
	}
	p.slowAt.Store(int64(never))
	g.held = append(g.held, p)
	client.held++
	domain.held++
	return p
}

// share is how many places a client may hold while others want some.
func (g *Gate) share() int { return max(1, g.places/max(1, len(g.clients))) }

// admitWaiter lets w wait, or says why it may not.
func (g *Gate) admitWaiter(w *waiter) *Refusal {
	if w.client.held+w.client.waiting >= g.share() && len(g.waiting) > w.client.waiting {
		g.strike(w.who.Client, w.client)
		return g.refusal(OverShare)
	}
	if len(g.waiting) >= g.cfg.MaxWaiting {
		last := g.lastInLine()
		if g.order(w, last) >= 0 {
			return g.refusal(Full)
		}
		g.turnAway(last)
	}
	g.waiting = append(g.waiting, w)
	w.client.waiting++
	w.domain.waiting++
	if !g.armed {
		g.takeBack(w.since)
	}
	g.arm()
	return nil
}

// lastInLine is the waiter that all others come before.
func (g *Gate) lastInLine() *waiter {
	last := g.waiting[0]
	for _, w := range g.waiting[1:] {
		if g.order(w, last) >= 0 {
			last = w
		}
	}
	return last
}

// turnAway refuses a waiter for one that comes before it.
func (g *Gate) turnAway(w *waiter) {
	reason := Full
	if w.client.held+w.client.waiting > g.share() {
		reason = OverShare
	}
	w.refusal = g.refusal(reason)
	g.leave(w)
	g.forgetEmpty(w.who, w.client, w.domain)
	close(w.decided)
}

func (g *Gate) strike(client Client, account *account) {
	account.struckUntil = g.elapsed() + g.cfg.StruckTime
	for _, p := range g.struckToo {
		p.strike(client)
	}
}

func (g *Gate) refusal(reason Reason) *Refusal {
	limit := g.places
	if reason == OverShare {
		limit = g.share()
	}
	return &Refusal{Of: g.name, Reason: reason, Limit: int64(limit), RetryAfter: retryPlace}
}

// order is negative when a place goes to a rather than b. It is 0 for those that only their arrival tells apart.
func (g *Gate) order(a, b *waiter) int {
	return cmp.Or(
		cmp.Compare(a.client.held, b.client.held),
		cmp.Compare(btoi(a.client.struckUntil > a.since), btoi(b.client.struckUntil > b.since)),
		cmp.Compare(a.domain.held, b.domain.held),
	)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// wait returns when w is decided, when ctx ends, or after Config.MaxWait.
func (g *Gate) wait(ctx context.Context, w *waiter) (*Place, error) {
	timer := time.NewTimer(g.cfg.MaxWait)
	defer timer.Stop()
	var err error
	select {
	case <-w.decided: // whoever decides has removed it from the line
	case <-ctx.Done():
		err = g.giveUp(w, context.Cause(ctx))
	case <-timer.C:
		err = g.giveUp(w, nil)
	}
	g.counts.wait.Observe((g.elapsed() - w.since).Seconds())
	switch {
	case err != nil:
		return nil, err
	case w.refusal != nil:
		g.counts.refused(w.refusal)
		return nil, w.refusal
	}
	g.counts.waited.Inc()
	return w.place, nil
}

// giveUp refuses a waiter whose time is over, and returns err, unless it was decided meanwhile.
func (g *Gate) giveUp(w *waiter, err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.place != nil || w.refusal != nil {
		return nil
	}
	g.leave(w)
	g.forgetEmpty(w.who, w.client, w.domain)
	w.refusal = g.refusal(Full)
	return err
}

// leave takes a waiter out of the line.
func (g *Gate) leave(w *waiter) {
	for i, other := range g.waiting {
		if other == w {
			g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
			g.waiting[:len(g.waiting)+1][len(g.waiting)] = nil // the last pointer is there twice
			break
		}
	}
	w.client.waiting--
	w.domain.waiting--
}

// giveFree gives free places to waiters.
func (g *Gate) giveFree() {
	for len(g.held) < g.places && len(g.waiting) > 0 {
		next := g.waiting[0]
		for _, w := range g.waiting[1:] {
			if g.order(w, next) < 0 {
				next = w
			}
		}
		g.leave(next)
		next.place = g.give(next.who, next.client, next.domain)
		close(next.decided)
	}
}

// Release gives the place back. It may be called more than once.
func (p *Place) Release() {
	g := p.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.index < 0 {
		return
	}
	last := g.held[len(g.held)-1]
	g.held[p.index], last.index = last, p.index
	g.held[len(g.held)-1] = nil
	g.held = g.held[:len(g.held)-1]
	p.index, p.cancel = -1, nil
	p.client.held--
	p.domain.held--
	if p.cause != nil {
		g.leaving--
		p.client.leaving--
		p.domain.leaving--
	}
	g.forgetEmpty(p.who, p.client, p.domain)
	g.giveFree()
}

// Context returns a context that also ends when the place is taken back, with ErrSlow or ErrRecalled as its cause. A
// place has one at a time. The function must be called.
func (p *Place) Context(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	if p.cause != nil {
		cancel(p.cause)
	}
	p.cancel = cancel
	return ctx, func() { cancel(nil) }
}

// Share is how many places a client may hold now, while others want some.
func (g *Gate) Share() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.share()
}

// Held is how many places are taken.
func (g *Gate) Held() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.held)
}
