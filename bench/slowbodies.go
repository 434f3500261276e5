package bench

// Bodies that never end: a byte every now and then, on many connections at once. A connection that loses its place is
// made again after a moment. All of them together are made at most slowComing times a second: that is as many as this
// process and the kernel can make beside a service without taking its cores.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"

	"countersign/internal/pause"
)

// Of a slow body.
const (
	slowByte   = 10 * time.Second       // between two bytes
	slowLeast  = 200 * time.Millisecond // before a connection that was lost is made again, at least
	slowMost   = 800 * time.Millisecond // and at most
	slowComing = 2000.0                 // connections a second, of all bodies together
	slowSize   = 1 << 20                // bytes that the head promises
)

// slowBodies is the attack with n connections.
func slowBodies(name string, n int) attack {
	return attack{
		name: name, title: number(float64(n)) + " slow bodies", unanswered: true,
		start: func(ctx context.Context, f *front) {
			coming := newPace(slowComing)
			for range n {
				f.group.Go(func() {
					c := f.dial()
					defer c.close()
					for coming.wait(ctx) == nil {
						f.dribble(ctx, c)
						c.close()
						if pause.For(ctx, slowLeast+rand.N(slowMost-slowLeast)) != nil {
							return
						}
					}
				})
			}
		},
	}
}

// dribble sends one body, as slowly as that goes, until it is refused.
func (f *front) dribble(ctx context.Context, c *conn) {
	f.begun.Add(1)
	r, err := c.dribble(ctx, "POST "+c.base.Path+"/api/v1/asyncsign/slow.example HTTP/1.1\r\nHost: "+c.base.Host+
		fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n[", slowSize))
	f.count(ctx, r, err, http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusServiceUnavailable)
}

// dribble sends a head with the first byte of a body, then a space now and then until there is an answer.
func (c *conn) dribble(ctx context.Context, head string) (reply, error) {
	if err := c.dial(ctx); err != nil {
		return reply{}, err
	}
	raw := c.raw
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	for text := head; ; text = " " {
		_, writeErr := io.WriteString(raw, text)
		if err := raw.SetReadDeadline(time.Now().Add(slowByte)); err != nil {
			return reply{}, err
		}
		_, err := c.in.Peek(1)
		if errors.Is(err, os.ErrDeadlineExceeded) && writeErr == nil {
			continue
		}
		if err != nil {
			return reply{}, errors.Join(writeErr, err)
		}
		return c.read()
	}
}

// pace says when things may happen that must not happen more often than so many times a second. It is safe for
// concurrent use.
type pace struct {
	every time.Duration

	mu   sync.Mutex
	next time.Time // guarded by mu
}

func newPace(rate float64) *pace { return &pace{every: time.Duration(float64(time.Second) / rate)} }

// wait returns when it is the caller's turn; the error is the context's.
func (p *pace) wait(ctx context.Context) error {
	p.mu.Lock()
	turn := p.next
	if now := time.Now(); turn.Before(now) {
		turn = now
	}
	p.next = turn.Add(p.every)
	p.mu.Unlock()
	return pause.For(ctx, time.Until(turn))
}
