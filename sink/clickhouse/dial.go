package clickhouse

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// writeTimeout bounds one write to a connection. The driver watches the context of a call at every point but while it
// sends the blocks of an insert: a server that stops reading there would hold the call for ever.
const writeTimeout = 30 * time.Second

// dialer makes connections that obey the caller's context while they are made, and writeTimeout afterwards.
func dialer(opts *clickhouse.Options) func(context.Context, string) (net.Conn, error) {
	plain := net.Dialer{Timeout: opts.DialTimeout}
	return func(ctx context.Context, address string) (net.Conn, error) {
		c, err := plain.DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		conn := &boundedConn{TCPConn: c.(*net.TCPConn)}
		if opts.TLS == nil {
			return conn, nil
		}
		return handshake(ctx, conn, address, opts.TLS)
	}
}

func handshake(ctx context.Context, conn net.Conn, address string, config *tls.Config) (net.Conn, error) {
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
		conn.Close()
		return nil, fmt.Errorf("TLS with %s: %w", address, err)
	}
	return secure, nil
}

// boundedConn gives every write a deadline, at the latest writeTimeout from its start.
type boundedConn struct {
	*net.TCPConn

	mu  sync.Mutex
	set time.Time // the deadline that the driver asked for
}

func (c *boundedConn) Write(b []byte) (int, error) {
	deadline := time.Now().Add(writeTimeout)
	c.mu.Lock()
	if !c.set.IsZero() && c.set.Before(deadline) {
		deadline = c.set
	}
	err := c.TCPConn.SetWriteDeadline(deadline)
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return c.TCPConn.Write(b)
}

func (c *boundedConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set = t
	return c.TCPConn.SetDeadline(t)
}

func (c *boundedConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set = t
	return c.TCPConn.SetWriteDeadline(t)
}
