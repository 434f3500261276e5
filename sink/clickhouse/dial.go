// Connections are ended with care. The engine treats a connection that is reset while it waits for the next packet as a fatal
// error of its own (clickhouse-local ends the process on exceptions that no query owns), and the driver's way to give
// a call up is to close the connection with answers unread, which resets it. So Close here ends the sending side, reads
// what is still coming, and only then closes.
package clickhouse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// writeTimeout bounds one write to a connection. The driver watches the context of a call at every point but while it
// sends the blocks of an insert: a server that stops reading there would hold the call for ever.
const writeTimeout = 30 * time.Second

// lingerTimeout bounds how long a closed connection is read to its end.
const lingerTimeout = 30 * time.Second

// dialer makes connections that obey the caller's context while they are made, and owns them until they are closed for good.
type dialer struct {
	timeout time.Duration
	tls     *tls.Config
	closing sync.WaitGroup // connections on their way out
}

func (d *dialer) dial(ctx context.Context, address string) (net.Conn, error) {
	plain := net.Dialer{Timeout: d.timeout}
	c, err := plain.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	conn := &gentleConn{TCPConn: c.(*net.TCPConn), closing: &d.closing}
	if d.tls == nil {
		return conn, nil
	}
	return d.handshake(ctx, conn, address)
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

// wait returns when every closed connection is gone.
func (d *dialer) wait() { d.closing.Wait() }

// gentleConn gives each write a deadline and closes in the order that the top of this file explains.
type gentleConn struct {
	*net.TCPConn
	closing *sync.WaitGroup

	reading, writing sync.Mutex // held during a Read, a Write

	mu          sync.Mutex
	closed      bool
	writeBefore time.Time // the deadline that the driver asked for
}

func (c *gentleConn) Read(b []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.isClosed() {
		return 0, net.ErrClosed
	}
	return c.TCPConn.Read(b)
}

func (c *gentleConn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.limitWrite(); err != nil {
		return 0, err
	}
	return c.TCPConn.Write(b)
}

func (c *gentleConn) limitWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	deadline := time.Now().Add(writeTimeout)
	if !c.writeBefore.IsZero() && c.writeBefore.Before(deadline) {
		deadline = c.writeBefore
	}
	return c.TCPConn.SetWriteDeadline(deadline)
}

func (c *gentleConn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
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
	return c.TCPConn.SetReadDeadline(t)
}

func (c *gentleConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.writeBefore = t
	return c.TCPConn.SetWriteDeadline(t)
}

// Close returns at once, wakes a Read or Write in progress, and leaves the rest to a goroutine that dialer.wait waits for.
func (c *gentleConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.closing.Go(c.linger)
	return c.TCPConn.SetDeadline(time.Unix(1, 0))
}

func (c *gentleConn) linger() {
	// After these no Read or Write is under way that the new deadline could revive.
	c.reading.Lock()
	defer c.reading.Unlock()
	c.writing.Lock()
	defer c.writing.Unlock()
	defer c.TCPConn.Close()
	if err := errors.Join(c.TCPConn.SetDeadline(time.Now().Add(lingerTimeout)), c.TCPConn.CloseWrite()); err != nil {
		return // the other side has closed already
	}
	_, _ = io.Copy(io.Discard, c.TCPConn)
}
