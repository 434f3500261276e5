package bench

// The connections that load is sent over: HTTP/1.1 with keep-alive, written by hand where it is timed. net/http's
// client would cost the shared cores several times as much and hide when the first byte leaves.

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	dialTimeout = 10 * time.Second
	mostReply   = 16 << 20 // bytes
)

// conn is one connection, for one goroutine. It dials when it is first used, and again after the server has closed it.
type conn struct {
	base *url.URL
	from netip.Addr // the client's address; zero: the system's choice
	raw  net.Conn
	in   *bufio.Reader
}

// reply is an answer, read whole.
type reply struct {
	status     int
	body       []byte
	retryAfter time.Duration
}

func (c *conn) close() {
	if c.raw != nil {
		_ = c.raw.Close()
		c.raw = nil
	}
}

func (c *conn) dial(ctx context.Context) error {
	if c.raw != nil {
		return nil
	}
	host := c.base.Host
	if c.base.Port() == "" {
		host = net.JoinHostPort(c.base.Hostname(), c.base.Scheme)
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	if c.from.IsValid() {
		dialer.LocalAddr, dialer.Control = net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.from, 0)), lateBinding
	}
	var err error
	if c.base.Scheme == "https" {
		c.raw, err = (&tls.Dialer{NetDialer: dialer}).DialContext(ctx, "tcp", host)
	} else {
		c.raw, err = dialer.DialContext(ctx, "tcp", host)
	}
	if err != nil {
		return fmt.Errorf("connect to %s: %w; is the service running there?", c.base, err)
	}
	c.in = bufio.NewReaderSize(c.raw, 4<<10)
	return nil
}

// get asks for a path, which is escaped already.
func (c *conn) get(ctx context.Context, path string) (reply, error) {
	return c.exchange(ctx, "GET "+c.base.Path+path+" HTTP/1.1\r\nHost: "+c.base.Host+"\r\n\r\n", nil, nil)
}

// post sends a body. sent, unless nil, is called when all of it is on its way.
func (c *conn) post(ctx context.Context, path string, b *body, sent func()) (reply, error) {
	return c.exchange(ctx, "POST "+c.base.Path+path+" HTTP/1.1\r\nHost: "+c.base.Host+"\r\nContent-Type: application/json\r\nContent-Length: "+
		strconv.FormatInt(b.size(), 10)+"\r\n\r\n", b, sent)
}

func (c *conn) exchange(ctx context.Context, head string, b io.WriterTo, sent func()) (reply, error) {
	if err := c.dial(ctx); err != nil {
		return reply{}, err
	}
	raw := c.raw
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Now()) })
	_, err := io.WriteString(raw, head)
	if err == nil && b != nil {
		_, err = b.WriteTo(raw)
	}
	if sent != nil {
		sent()
	}
	// A server that refuses a body answers before it has read it all: then the answer says more than the broken pipe.
	r, readErr := c.read()
	stop()
	if readErr != nil {
		c.close()
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		return r, fmt.Errorf("%s: %w", strings.SplitN(head, " HTTP/", 2)[0], errors.Join(err, readErr))
	}
	if err != nil || ctx.Err() != nil {
		c.close()
	}
	return r, nil
}

func (c *conn) read() (reply, error) {
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	r := reply{status: res.StatusCode}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil {
		r.retryAfter = time.Duration(s) * time.Second
	}
	r.body, err = io.ReadAll(io.LimitReader(res.Body, mostReply))
	if res.Close {
		c.close()
	}
	return r, err
}

// problem is the answer as an error.
func (r reply) problem(what string) error {
	var document struct{ Title, Detail string }
	if json.Unmarshal(r.body, &document) != nil || document.Title+document.Detail == "" {
		document.Detail = fmt.Sprintf("%.200q", r.body)
	}
	return fmt.Errorf("%s: the service answered %d: %s %s", what, r.status, document.Title, document.Detail)
}
