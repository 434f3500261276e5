package ingest

// Connections below HTTP: their certificate, and how they are closed. A refusal is sent while the client still sends its body.
// Closing then makes the kernel answer the bytes in flight with a reset, which takes the refusal away from a client that has not
// read it yet; curl, Java and Python say "connection reset" instead of "413". So a connection that owes the rest of a body is
// closed for writing only, and received from for a bounded time and number of bytes, before it goes (RFC 9112, section 9.6).

import (
	"crypto/tls"
	"io"
	"net"
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
}

func (l *listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if l.tls == nil {
		return &conn{Conn: raw, raw: raw, how: l.how}, nil
	}
	t := tls.Server(raw, l.tls)
	return &tlsConn{conn: conn{Conn: t, raw: raw, how: l.how}, tls: t}, nil
}

// conn is one connection.
type conn struct {
	net.Conn
	raw    net.Conn // below TLS
	how    *lingering
	linger atomic.Bool
	closed atomic.Bool
}

// tlsConn lets fasthttp do the handshake and see that the connection is secure.
type tlsConn struct {
	conn
	tls *tls.Conn
}

func (c *tlsConn) Handshake() error                     { return c.tls.Handshake() }
func (c *tlsConn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// lingerOnClose says that the client is owed time to read the reply.
func (c *conn) lingerOnClose() { c.linger.Store(true) }

type halfCloser interface{ CloseWrite() error }

func (c *conn) Close() error {
	if c.linger.Load() && !c.closed.Swap(true) {
		c.drain()
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
