package server

// Connections below HTTP: what is known of one between fasthttp's calls. How one is closed is in linger.go.

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"

	"countersign/ingest/admission"
	"countersign/ingest/problem"
)

// conn is one connection.
type conn struct {
	net.Conn
	raw     net.Conn // below TLS
	closing *lingering
	linger  atomic.Bool
	// announced is the length of a refused body (linger); belongs to fasthttp's goroutine.
	announced int64
	closed    atomic.Bool
	place     *admission.Connection
	loss      *problem.Problem // of its last request, which lost its place; belongs to fasthttp's goroutine
	gone      atomic.Bool      // the client ended its side, and all that it sent before was read
	hungUp    chan struct{}    // closed when the connection was closed for another one
}

// Read reads from the client. The end of its side comes alone, never together with bytes: so a reader that meets it
// wanted more.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	switch {
	case !errors.Is(err, io.EOF):
	case n > 0: // TLS does so; the next Read says it again
		err = nil
	default:
		c.gone.Store(true)
	}
	return n, err
}

func (c *conn) clientGone() bool { return c.gone.Load() }

// clientGone returns a function that tells whether the client of c ended its side before all that was wanted of it
// came.
func clientGone(c net.Conn) func() bool {
	if h, ok := c.(interface{ clientGone() bool }); ok {
		return h.clientGone
	}
	return func() bool { return false }
}

func (c *conn) closedForOther() <-chan struct{} { return c.hungUp }

// closedForOther returns a channel that is closed when c was closed to make room for another connection; nil: it won't
// be.
func closedForOther(c net.Conn) <-chan struct{} {
	if h, ok := c.(interface{ closedForOther() <-chan struct{} }); ok {
		return h.closedForOther()
	}
	return nil
}

// busy says that c serves a request, until the function it returns is called.
func busy(c net.Conn) (idle func()) {
	if p, ok := c.(interface{ admitted() *admission.Connection }); ok {
		place := p.admitted()
		place.Busy()
		return place.Idle
	}
	return func() {}
}

// noteLoss keeps the problem of a request that lost its place before its handler ran, and lossOf returns it; nil:
// there is none. fasthttp keeps nothing of such a request.
func noteLoss(c net.Conn, p *problem.Problem) {
	if l, ok := c.(interface{ setLoss(*problem.Problem) }); ok {
		l.setLoss(p)
	}
}

func lossOf(c net.Conn) *problem.Problem {
	if l, ok := c.(interface{ getLoss() *problem.Problem }); ok {
		return l.getLoss()
	}
	return nil
}

func (c *conn) setLoss(p *problem.Problem) { c.loss = p }
func (c *conn) getLoss() *problem.Problem  { return c.loss }

func (c *conn) admitted() *admission.Connection { return c.place }

// tlsConn lets fasthttp do the handshake and see that the connection is secure.
type tlsConn struct {
	*conn
	tls *tls.Conn
}

func (c *tlsConn) Handshake() error                     { return c.tls.Handshake() }
func (c *tlsConn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

type halfCloser interface{ CloseWrite() error }

func (c *conn) Close() error {
	if !c.closed.Swap(true) {
		if c.linger.Load() {
			c.drain()
		}
		c.place.Close()
	}
	return c.Conn.Close()
}
