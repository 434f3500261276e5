package ingest

// Connections below HTTP: their certificate, and how they are closed. A refusal is sent while the client still sends its body.
// Closing then makes the kernel answer the bytes in flight with a reset, which takes the refusal away from a client that has not
// read it yet; curl, Java and Python say "connection reset" instead of "413". So a connection that owes the rest of a body is
// closed for writing only, and received from for a bounded time and number of bytes, before it goes (RFC 9112, section 9.6).

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// lingering is how connections are closed.
type lingering struct {
	timeout time.Duration
	bytes   int64
	stop    atomic.Bool // the server stops: linger briefly
}

// lingerStopping is the time a connection lingers once the server stops.
const lingerStopping = 500 * time.Millisecond

// listener makes the server's connections.
type listener struct {
	net.Listener
	how *lingering
	tls *tls.Config // nil: plain

	max     int           // connections open at a time
	refusal []byte        // the reply to those beyond, as sent; they may read it for a moment
	refused func()        // told of each
	leaving chan struct{} // a token for each that reads it; capacity maxLeaving
	left    sync.WaitGroup
	open    atomic.Int64
}

// A connection beyond the limit takes no worker, only a goroutine that waits until its client has read the refusal, for refusalTime;
// beyond maxLeaving of them they are closed at once.
const (
	maxLeaving  = 64
	refusalTime = time.Second
)

func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) > int64(l.max) {
			l.open.Add(-1)
			l.refuse(raw)
			continue
		}
		c := conn{Conn: raw, raw: raw, how: l.how, open: &l.open}
		if l.tls == nil {
			return &c, nil
		}
		t := tls.Server(raw, l.tls)
		c.Conn = t
		return &tlsConn{conn: &c, tls: t}, nil
	}
}

// refuse answers a connection that is one too many. With TLS it would take a handshake to say anything.
func (l *listener) refuse(raw net.Conn) {
	l.refused()
	half, ok := raw.(halfCloser)
	// A new connection has room for the refusal in its buffer: the write doesn't wait.
	if l.tls != nil || !ok || raw.SetDeadline(time.Now().Add(refusalTime)) != nil {
		_ = raw.Close()
		return
	}
	if _, err := raw.Write(l.refusal); err != nil || half.CloseWrite() != nil {
		_ = raw.Close()
		return
	}
	select {
	case l.leaving <- struct{}{}:
	default:
		_ = raw.Close()
		return
	}
	l.left.Go(func() {
		defer func() { <-l.leaving }()
		_, _ = io.CopyN(io.Discard, raw, l.how.bytes)
		_ = raw.Close()
	})
}

// conn is one connection.
type conn struct {
	net.Conn
	raw    net.Conn // below TLS
	how    *lingering
	linger atomic.Bool
	closed atomic.Bool
	open   *atomic.Int64 // of the listener
	gone   atomic.Bool   // the client ended its side, and all that it sent before was read
}

// Read reads from the client. The end of its side comes alone, never together with bytes: so whoever meets it wanted more.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	switch {
	case err != io.EOF:
	case n > 0: // TLS does so; the next Read says it again
		err = nil
	default:
		c.gone.Store(true)
	}
	return n, err
}

func (c *conn) hungUp() bool { return c.gone.Load() }

// hungUp returns what tells whether c's client ended its side before everything that was wanted of it came.
func hungUp(c net.Conn) func() bool {
	if h, ok := c.(interface{ hungUp() bool }); ok {
		return h.hungUp
	}
	return func() bool { return false }
}

// tlsConn lets fasthttp do the handshake and see that the connection is secure.
type tlsConn struct {
	*conn
	tls *tls.Conn
}

func (c *tlsConn) Handshake() error                     { return c.tls.Handshake() }
func (c *tlsConn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// lingerOnClose says that the client is owed time to read the reply.
func (c *conn) lingerOnClose() { c.linger.Store(true) }

type halfCloser interface{ CloseWrite() error }

func (c *conn) Close() error {
	if !c.closed.Swap(true) {
		if c.linger.Load() {
			c.drain()
		}
		c.open.Add(-1)
	}
	return c.Conn.Close()
}

// drain ends the sending side, and discards what the client still sends.
func (c *conn) drain() {
	timeout := c.how.timeout
	if c.how.stop.Load() {
		timeout = min(timeout, lingerStopping)
	}
	if c.raw.SetDeadline(time.Now().Add(timeout)) != nil {
		return
	}
	if c.raw != c.Conn {
		if half, ok := c.Conn.(halfCloser); ok && half.CloseWrite() != nil { // TLS's close_notify
			return
		}
	}
	if half, ok := c.raw.(halfCloser); !ok || half.CloseWrite() != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.raw, c.how.bytes)
}
