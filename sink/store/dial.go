package store

// Connections are ended with care. The embedded engine treats a connection that is reset while the engine waits for the
// next packet as a fatal error (clickhouse-local ends the process on exceptions that no query owns). The driver gives a
// call up by closing its connection with answers unread, which resets the connection. So Close here ends the sending
// side, reads what is still coming, and only then closes.

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"countersign/internal/fdpass"
)

// writeTimeout bounds one write to a connection. The driver watches the context of a call at every point but while it
// sends the blocks of an insert: a server that stops reading there would hold the call for ever.
const writeTimeout = 30 * time.Second

// lingerTimeout bounds how long a closed connection is read to its end, and silentLinger how long when the server was
// silent lately.
const (
	lingerTimeout = 30 * time.Second
	silentLinger  = 2 * time.Second
)

// dialer makes connections that obey the caller's context while they are made, and owns them until they are closed for
// good.
type dialer struct {
	timeout time.Duration
	tls     *tls.Config
	silent  *silentAddresses
	silence time.Duration // how long a call may wait for the next packet
	socket  string        // a Unix socket that passes connections (package fdpass); empty: the address is dialled

	mu   sync.Mutex
	open map[*gentleConn]struct{} // made and not yet closed; guarded by mu
	all  sync.WaitGroup           // from their making to the end of their lingering
}

// use makes the driver connect through d.
func (d *dialer) use(opts *clickhouse.Options) {
	opts.DialContext = d.dial
	type options = *clickhouse.Options
	type result = clickhouse.DialResult
	opts.DialStrategy = func(ctx context.Context, id int, given options, dial clickhouse.Dial) (result, error) {
		opts := *given
		opts.Addr = d.silent.last(given.Addr)
		// The driver forgets a connection whose first exchange fails, without closing it.
		closing := func(ctx context.Context, address string, opts options) (result, error) {
			var made *gentleConn
			r, err := dial(context.WithValue(ctx, madeKey{}, &made), address, opts)
			if made != nil {
				made.bound()
			}
			switch {
			case made == nil:
			case err != nil:
				made.Close()
			default:
				made.greeted(d.silence)
			}
			return r, err
		}
		return clickhouse.DefaultDialStrategy(ctx, id, &opts, closing)
	}
}

// madeKey is the context key under which dial leaves the connection that it made.
type madeKey struct{}

func (d *dialer) dial(ctx context.Context, address string) (net.Conn, error) {
	c, err := d.connect(ctx, address)
	if err != nil {
		return nil, err
	}
	// Every server greets at once, whatever takes it longer later.
	conn := &gentleConn{stream: c, dialer: d, address: address, silence: min(d.silence, readSilence)}
	// The driver's first exchange doesn't watch the context.
	conn.bound = context.AfterFunc(ctx, func() { _ = conn.Close() })
	d.all.Add(1)
	d.mu.Lock()
	d.open[conn] = struct{}{}
	d.mu.Unlock()
	if made, ok := ctx.Value(madeKey{}).(**gentleConn); ok {
		*made = conn
	}
	if d.tls == nil {
		return conn, nil
	}
	return d.handshake(ctx, conn, address)
}

// connect makes a TCP connection, or has one passed.
func (d *dialer) connect(ctx context.Context, address string) (stream, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	if d.socket != "" {
		silence := min(d.silence, readSilence)
		ctx, cancel := context.WithTimeoutCause(ctx, silence, &silentError{address: d.socket, silence: silence})
		defer cancel()
		return fdpass.Dial(ctx, d.socket)
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

func (d *dialer) handshake(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	config := d.tls
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		config = config.Clone()
		config.ServerName = host
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS with %s: %w", address, err), conn.Close())
	}
	return secure, nil
}

// idleFor is how long a connection was not used that is closed when another one was silent.
const idleFor = readSilence / 2

// closeIdle closes connections that nobody has used for idleFor. It is called when a connection was silent: those
// that have died with it, in a firewall that has forgotten them for instance, would cost a silence each.
func (d *dialer) closeIdle() {
	d.mu.Lock()
	all := slices.Collect(maps.Keys(d.open))
	d.mu.Unlock()
	for _, c := range all {
		if c.idle() {
			_ = c.Close()
		}
	}
}

// idle says that no Read is under way and that there was none, and no Write, for idleFor. A call waits in a Read.
func (c *gentleConn) idle() bool {
	if !c.reading.TryLock() {
		return false
	}
	c.reading.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.used) >= idleFor
}

// close ends every connection and returns when they are gone: the driver closes those that calls have just given back a
// moment too late to wait for it. No call is under way.
func (d *dialer) close() {
	d.mu.Lock()
	left := slices.Collect(maps.Keys(d.open))
	d.mu.Unlock()
	for _, c := range left {
		_ = c.Close()
	}
	d.all.Wait()
}

// stream is a TCP connection that this process made or was passed.
type stream interface {
	net.Conn
	CloseWrite() error
	SyscallConn() (syscall.RawConn, error) // the driver looks whether an idle connection was ended
}

// gentleConn gives each write a deadline and closes in the order that the top of this file explains.
type gentleConn struct {
	stream
	dialer  *dialer
	address string
	bound   func() bool // ends that the connection ends with the context of whoever made it

	reading, writing sync.Mutex // held during a Read, a Write

	mu          sync.Mutex
	closed      bool          // guarded by mu
	wasIdle     bool          // it was idle until the last Write, and nothing has come since; guarded by mu
	used        time.Time     // when a Read or a Write began last, or a Read ended; guarded by mu
	silence     time.Duration // how long a Read may wait; guarded by mu
	readBefore  time.Time     // the deadline that the driver asked for, zero if none; guarded by mu
	writeBefore time.Time     // the same for writes; guarded by mu
}

func (c *gentleConn) Read(b []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	silence, err := c.limitRead()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	n, err := c.stream.Read(b)
	c.touch()
	if errors.Is(err, os.ErrDeadlineExceeded) && silence > 0 && time.Since(began) >= silence {
		c.dialer.silent.note(c.address)
		c.dialer.closeIdle()
		err = &silentError{address: c.address, silence: silence, idle: silence == idleSilence}
	}
	return n, c.broken(err)
}

// touch notes that a Read has ended.
func (c *gentleConn) touch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used, c.wasIdle = time.Now(), false
}

// greeted says that the server has answered, and how long it may be silent from now on.
func (c *gentleConn) greeted(silence time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silence = silence
}

// limitRead sets the deadline of one Read, and returns the silence that it stands for; none when the driver asked for
// an earlier one.
func (c *gentleConn) limitRead() (silence time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	c.used = time.Now()
	silence = c.silence
	if c.wasIdle && silence == readSilence { // an insert isn't asked twice
		silence = idleSilence
	}
	deadline := c.used.Add(silence)
	if !c.readBefore.IsZero() && c.readBefore.Before(deadline) {
		silence, deadline = 0, c.readBefore
	}
	return silence, c.stream.SetReadDeadline(deadline)
}

func (c *gentleConn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.limitWrite(); err != nil {
		return 0, err
	}
	n, err := c.stream.Write(b)
	return n, c.broken(err)
}

// broken closes a connection that failed: the driver uses none of those again, and doesn't close all of them.
func (c *gentleConn) broken(err error) error {
	if err != nil {
		_ = c.Close()
	}
	return err
}

func (c *gentleConn) limitWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.wasIdle = c.wasIdle || !c.used.IsZero() && time.Since(c.used) >= idleFor
	c.used = time.Now()
	deadline := c.used.Add(writeTimeout)
	if !c.writeBefore.IsZero() && c.writeBefore.Before(deadline) {
		deadline = c.writeBefore
	}
	return c.stream.SetWriteDeadline(deadline)
}

func (c *gentleConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *gentleConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.readBefore = t
	return c.stream.SetReadDeadline(t)
}

func (c *gentleConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.writeBefore = t
	return c.stream.SetWriteDeadline(t)
}

// Close returns at once, wakes a Read or Write in progress, and leaves the rest to a goroutine that dialer.close waits
// for.
func (c *gentleConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.dialer.mu.Lock()
	delete(c.dialer.open, c)
	c.dialer.mu.Unlock()
	go c.linger()
	return c.stream.SetDeadline(time.Unix(1, 0))
}

func (c *gentleConn) lingering() time.Duration {
	if c.dialer.silent.lately(c.address) {
		return silentLinger
	}
	return lingerTimeout
}

func (c *gentleConn) linger() {
	defer c.dialer.all.Done()
	// After these no Read or Write is under way that the new deadline could revive.
	c.reading.Lock()
	defer c.reading.Unlock()
	c.writing.Lock()
	defer c.writing.Unlock()
	defer c.stream.Close()
	if c.dialer.socket != "" {
		return // whoever passed the connection reads it to its end
	}
	if err := errors.Join(c.stream.SetDeadline(time.Now().Add(c.lingering())), c.stream.CloseWrite()); err != nil {
		return // the other side has closed already
	}
	_, _ = io.Copy(io.Discard, c.stream)
}
