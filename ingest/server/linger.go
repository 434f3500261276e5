package server

// How connections are closed that owe part of a body. A refusal is sent while the client still sends its body. Closing
// then makes the kernel answer the bytes in flight with a reset, which takes the refusal away from a client that has
// not read it yet: curl, Java and Python say "connection reset" instead of "413". So such a connection is closed for
// writing only, and received from until the client ends its side, before it goes (RFC 9112, section 9.6).
//
// Many clients read the reply only after the last byte of the body. So what is received has the bounds of the body that
// was announced, and not those of the refusal. That costs others little: nothing of it is kept, and the connection
// counts as idle, so one that is needed for another client is closed at once.

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"
)

const (
	// lingerRate is the bytes a second by which the length of a body becomes the time that it may take.
	lingerRate = 16 << 10
	// lingerStopping is how long a connection lingers once the server stops.
	lingerStopping = 500 * time.Millisecond
)

// lingering is how connections are closed. All of a server share one.
type lingering struct {
	timeout time.Duration   // Config.LingerTimeout
	bytes   int64           // Config.LingerBytes
	longest time.Duration   // Config.BodyTimeout
	stall   time.Duration   // Config.StallTimeout
	serving context.Context // its end cuts lingering short
}

// bounds returns how much is received after a refusal, and for how long. announced is the length of the refused body in
// bytes; 0: nothing is known of one.
func (l *lingering) bounds(announced int64) (bytes int64, within time.Duration) {
	if announced <= 0 {
		return l.bytes, l.timeout
	}
	const most = 1 << 60
	announced = min(announced, most)
	bytes = announced + announced/16 + 64<<10 // chunks and TLS have frames of their own
	within = l.timeout + time.Duration(min(announced/lingerRate, int64(l.longest/time.Second)))*time.Second
	return bytes, max(min(within, l.longest), l.timeout)
}

// linger makes c stay open for a while once it is closed: its client is owed time to read the reply. announced is the
// length of the refused body in bytes, or what it may be at most; 0: nothing is known of one.
func linger(c net.Conn, announced int64) {
	if l, ok := c.(interface{ lingerOnClose(announced int64) }); ok {
		l.lingerOnClose(announced)
	}
}

func (c *conn) lingerOnClose(announced int64) {
	c.announced = announced
	c.linger.Store(true)
}

// drain ends the sending side, and discards what the client still sends.
func (c *conn) drain() {
	bytes, within := c.closing.bounds(c.announced)
	rest := &remainder{Conn: c.raw, closing: c.closing, expected: c.announced, end: time.Now().Add(within)}
	if rest.arm() != nil {
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
	stop := context.AfterFunc(c.closing.serving, func() { _ = c.raw.SetReadDeadline(time.Now().Add(lingerStopping)) })
	defer stop()
	_, _ = io.CopyN(io.Discard, rest, bytes)
}

// remainder is what a client sends after the refusal. It is for one goroutine.
type remainder struct {
	net.Conn
	closing  *lingering
	expected int64     // bytes; 0: nothing is known of a body
	end      time.Time // of all waiting
	n        int64     // bytes so far
	deadline time.Time // the one that was set
	stopping bool      // end is soon, because the server stops
}

func (r *remainder) Read(p []byte) (int, error) {
	for {
		if err := r.arm(); err != nil {
			return 0, err
		}
		n, err := r.Conn.Read(p)
		r.n += int64(n)
		// A body whose time was over may have left a deadline in the past, set after this one (Exchange.beginReading).
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !time.Now().Before(r.deadline) {
			return n, err
		}
		r.deadline = time.Time{}
	}
}

// arm moves the read deadline. A client that owes part of its body may pause as long as during a body; afterwards it
// only has to end its side.
func (r *remainder) arm() error {
	now := time.Now()
	if !r.stopping && r.closing.serving.Err() != nil {
		r.stopping = true
		if soon := now.Add(lingerStopping); soon.Before(r.end) {
			r.end = soon
		}
	}
	silence := r.closing.timeout
	if r.n < r.expected {
		silence = max(silence, r.closing.stall)
	}
	next := now.Add(silence)
	if next.After(r.end) {
		next = r.end
	}
	if later := next.Sub(r.deadline); later >= 0 && later <= silence/16 {
		return nil // setting it for every read would take as long as reading
	}
	if r.deadline = next; r.SetReadDeadline(next) != nil {
		return net.ErrClosed
	}
	if !r.stopping && r.closing.serving.Err() != nil {
		return r.arm() // it ended meanwhile, and its watcher's deadline was the earlier one
	}
	return nil
}
