package certs

// How often one address is dialled, for all clients and all names together. Anybody can make up names that lead to one
// address, so this is what keeps the service from being the weapon of a flood.

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"countersign/internal/pause"
)

// dialLimiter hands out the right to have a connection to an address. It is safe for concurrent use.
type dialLimiter struct {
	clock func() time.Time

	mu        sync.Mutex
	addresses map[netip.Prefix]*dialled // guarded by mu
}

// dialled is an address that is dialled, or was a moment ago.
type dialled struct {
	open  chan struct{} // an element for each connection, at most maxDialsAtOnce
	users int           // connections, and those who wait for one; guarded by dialLimiter.mu
	due   time.Time     // when the next connection is due at an even rate; guarded by dialLimiter.mu
}

func newDialLimiter(clock func() time.Time) *dialLimiter {
	return &dialLimiter{clock: clock, addresses: make(map[netip.Prefix]*dialled)}
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

// acquire waits until a connection to address may be made. release must be called when it is closed. The error wraps
// [ErrNoTurn] and ctx's error, where that ends first.
func (l *dialLimiter) acquire(ctx context.Context, address netip.Addr) (release func(), err error) {
	prefix := limited(address)
	d := l.enter(prefix)
	select {
	case d.open <- struct{}{}:
	case <-ctx.Done():
		l.leave(prefix, d)
		return nil, fmt.Errorf("waiting for one of %d connections to %s: %w: %w",
			maxDialsAtOnce, prefix, ErrNoTurn, ctx.Err())
	}
	release = func() {
		<-d.open
		l.leave(prefix, d)
	}
	if err := pause.For(ctx, l.delay(d)); err != nil {
		release()
		return nil, fmt.Errorf("waiting to connect to %s, which is dialled every %s: %w: %w",
			prefix, dialInterval, ErrNoTurn, err)
	}
	return release, nil
}

func (l *dialLimiter) enter(prefix netip.Prefix) *dialled {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.addresses[prefix]
	if d == nil {
		d = &dialled{open: make(chan struct{}, maxDialsAtOnce)}
		l.addresses[prefix] = d
	}
	d.users++
	return d
}

// delay takes the next place in an address's even rate, and says how far it is ahead of what a burst allows (the
// generic cell rate algorithm of ITU-T I.371).
func (l *dialLimiter) delay(d *dialled) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock()
	if d.due.Before(now) {
		d.due = now
	}
	wait := d.due.Sub(now) - (dialBurst-1)*dialInterval
	d.due = d.due.Add(dialInterval)
	return wait
}

// leave forgets an address that nobody uses when its rate has evened out.
func (l *dialLimiter) leave(prefix netip.Prefix, d *dialled) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d.users--; d.users > 0 {
		return
	}
	if left := d.due.Sub(l.clock()); left > 0 {
		time.AfterFunc(left, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if d.users == 0 && l.addresses[prefix] == d && !d.due.After(l.clock()) {
				delete(l.addresses, prefix)
			}
		})
		return
	}
	delete(l.addresses, prefix)
}
