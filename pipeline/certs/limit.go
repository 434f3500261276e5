package certs

// How often one address is asked, for all clients and all names together, and whose turn it is. Anybody can make up
// names that lead to one address. So there is a bound, which keeps the service from being the weapon of a flood, and
// there are turns, which keep the flood from using up what the bound leaves to others.
//
// A look asks an address in visits: one visit is one try, with all its connections. A turn is one of a visit and not of
// a connection, because a visit that stopped half-way would show one of a site's two certificates only. Visits are
// charged to the same accounts as the look: domain and client. Names of which leaves are known and names of which none
// are known have bounds of their own at each address, so made-up names take nothing from a site that is known.
//
// Where an address hangs, visits would hold all places until their looks end. So while a visit waits for a place, the
// one that has taken longest gives way, once it has had maxVisit.

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/internal/fair"
)

// errGaveWay is the cause of the end of a visit that gave its place to another one.
var errGaveWay = fmt.Errorf("%w: another visit waited for the place", ErrNoTurn)

// dialLimiter hands out visits to addresses. It is safe for concurrent use.
type dialLimiter struct {
	clock  func() time.Time
	visits *prometheus.CounterVec // by outcome, which is one of the following

	made, noTurn, gaveWay prometheus.Counter

	mu      sync.Mutex
	dialled map[visitors]*dialled // guarded by mu
}

// visitors are names that share the bounds of an address.
type visitors struct {
	prefix netip.Prefix // invalid: only a proxy knows the address
	domain string       // registrable, of names whose address only a proxy knows; empty: prefix is the address
	known  bool         // leaves of the names are known
}

// dialled is an address that is visited, or was a moment ago. Its fields are guarded by dialLimiter.mu.
type dialled struct {
	visitors visitors
	turns    *fair.Queue[account, *visit] // visits that wait, and some that gave up
	waiting  int                          // visits of turns that have not given up
	gaveUp   int                          // visits of turns that have
	running  []*visit                     // the one that began first is the first
	due      time.Time                    // when the next connection is due at an even rate
	timer    *time.Timer                  // calls advance when nothing but time is missing; nil: there was none yet
}

// visit is one try at an address. Its fields are guarded by dialLimiter.mu, but for begun and end.
type visit struct {
	accounts []account
	begun    chan struct{}           // closed when the visit may make its connections
	end      context.CancelCauseFunc // ends its connections
	began    time.Time               // zero: it waits, or gave up
	gaveUp   bool                    // nobody waits for it any more
	ended    bool                    // it was told to give way
	done     func()                  // tells turns that it has ended
}

func newDialLimiter(clock func() time.Time) *dialLimiter {
	l := &dialLimiter{clock: clock, dialled: make(map[visitors]*dialled)}
	l.visits = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "countersign_certs_visits_total",
		Help: "Visits to addresses of sites by outcome: made, no_turn (the look ended first), " +
			"gave_way (it took long while another one waited).",
	}, []string{"outcome"})
	l.made, l.noTurn = l.visits.WithLabelValues("made"), l.visits.WithLabelValues("no_turn")
	l.gaveWay = l.visits.WithLabelValues("gave_way")
	return l
}

// limited is the network that counts as one address: an IPv4 address or an IPv6 /64.
func limited(address netip.Addr) netip.Prefix {
	address = address.Unmap().WithZone("")
	bits := 64
	if address.Is4() || nat64.Contains(address) {
		bits = address.BitLen()
	}
	return netip.PrefixFrom(address, bits).Masked()
}

// visit waits for a turn at address, or where that isn't valid, of the domain; it is charged to accounts, at least one,
// and the first of them is that of the domain. Then visiting is the context of up to
// visitConnections connections, of which two may be open at once. leave must be called when they are closed, with their
// number. Where visiting ends because the visit has to give way, its cause is errGaveWay. The error wraps [ErrNoTurn]
// and ctx's error, where that ends first.
func (l *dialLimiter) visit(
	ctx context.Context, address netip.Addr, accounts []account,
) (visiting context.Context, leave func(connections int), err error) {
	known := slices.ContainsFunc(accounts, func(a account) bool { return a.kind == accountKnown })
	visiting, end := context.WithCancelCause(ctx)
	v := &visit{accounts: accounts, begun: make(chan struct{}), end: end}
	who := visitors{known: known}
	if address.IsValid() {
		who.prefix = limited(address)
	} else {
		who.domain = accounts[0].name
	}
	d := l.enter(who, v)
	select {
	case <-v.begun:
		return visiting, func(connections int) {
			end(nil)
			l.leave(d, v, connections)
		}, nil
	case <-ctx.Done():
		end(nil)
		l.giveUp(d, v)
		return nil, nil, fmt.Errorf("waiting for a turn at %v: %w: %w", d.visitors, ErrNoTurn, ctx.Err())
	}
}

func (l *dialLimiter) enter(who visitors, v *visit) *dialled {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.dialled[who]
	if d == nil {
		d = &dialled{visitors: who, turns: fair.New[account, *visit](0, 0)}
		l.dialled[who] = d
	}
	d.turns.Put(v, 1, v.accounts...)
	d.waiting++
	l.advance(d)
	return d
}

func (l *dialLimiter) leave(d *dialled, v *visit, connections int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v.ended {
		l.gaveWay.Inc()
	} else {
		l.made.Inc()
	}
	l.remove(d, v, connections)
}

// giveUp takes back a visit that nobody waits for any more.
func (l *dialLimiter) giveUp(d *dialled, v *visit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noTurn.Inc()
	if !v.began.IsZero() { // in the same moment
		l.remove(d, v, 0)
		return
	}
	v.gaveUp = true
	d.waiting--
	d.gaveUp++
	if d.gaveUp > d.waiting+maxGaveUp {
		d.forgetGivenUp()
	}
	l.advance(d)
}

// remove ends a visit that had begun, and gives back what it did not use of the rate. The caller holds mu.
func (l *dialLimiter) remove(d *dialled, v *visit, connections int) {
	d.running = slices.DeleteFunc(d.running, func(other *visit) bool { return other == v })
	d.due = d.due.Add(-time.Duration(visitConnections-connections) * dialInterval)
	v.done()
	l.advance(d)
}

// forgetGivenUp leaves only those in the queue that wait. What the accounts had before is forgotten with it.
func (d *dialled) forgetGivenUp() {
	kept := fair.New[account, *visit](0, 0)
	for d.turns.Len() > 0 {
		if v, done, err := d.turns.Take(context.Background()); err == nil {
			done()
			if !v.gaveUp {
				kept.Put(v, 1, v.accounts...)
			}
		}
	}
	d.turns, d.gaveUp = kept, 0
}

// advance begins the visits that may begin, tells visits to give way, and sees to it that it is called again when
// nothing but time is missing. The caller holds mu.
func (l *dialLimiter) advance(d *dialled) {
	now := l.clock()
	for d.waiting > 0 && len(d.running) < maxVisits && d.early(now) <= 0 {
		d.begin(now)
	}
	var again time.Duration
	switch {
	case d.waiting == 0 && len(d.running) == 0:
		if again = d.due.Sub(now); again <= 0 && l.dialled[d.visitors] == d {
			delete(l.dialled, d.visitors)
		}
	case d.waiting > 0 && len(d.running) < maxVisits:
		again = d.early(now)
	case d.waiting > 0:
		again = d.giveWay(now)
	}
	if d.timer != nil {
		d.timer.Stop()
	}
	if again > 0 {
		d.timer = time.AfterFunc(again, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.advance(d)
		})
	}
}

// early is how long a visit must wait for the rate, in which its connections are counted before they are made (the
// generic cell rate algorithm of ITU-T I.371).
func (d *dialled) early(now time.Time) time.Duration {
	return max(d.due.Sub(now), 0) - (dialBurst-visitConnections)*dialInterval
}

// begin begins the visit whose turn it is. There is one that waits.
func (d *dialled) begin(now time.Time) {
	for {
		v, done, err := d.turns.Take(context.Background()) // doesn't wait, because there is one
		if err != nil {
			return
		}
		if v.gaveUp {
			d.gaveUp--
			done()
			continue
		}
		if d.due.Before(now) {
			d.due = now
		}
		d.due = d.due.Add(visitConnections * dialInterval)
		d.waiting--
		d.running = append(d.running, v)
		v.began, v.done = now, done
		close(v.begun)
		return
	}
}

// giveWay tells visits that have taken longest to end, as many as wait, and returns how long the next one still has;
// 0: none.
func (d *dialled) giveWay(now time.Time) time.Duration {
	places := 0
	for _, v := range d.running {
		left := v.began.Add(maxVisit).Sub(now)
		switch {
		case places >= d.waiting:
			return 0
		case !v.ended && left > 0:
			return left
		case !v.ended:
			v.ended = true
			v.end(errGaveWay)
		}
		places++
	}
	return 0
}

// waiting is how many visits wait for their turn.
func (l *dialLimiter) waiting() (waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.dialled {
		waiting += d.waiting
	}
	return waiting
}
