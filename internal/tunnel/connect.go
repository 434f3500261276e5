package tunnel

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"time"
)

// maxAnswer bounds the head of a proxy's answer, in bytes.
const maxAnswer = 64 << 10

// connect asks an HTTP proxy over a connection to it. The result replaces that connection.
func (p *Proxy) connect(ctx context.Context, conn net.Conn, to string) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	failed := func(kind Kind, err error) (net.Conn, error) {
		if timedOut(ctx, err) {
			kind = Silent
		}
		return nil, &Error{Kind: kind, Err: err}
	}
	if p.URL.Scheme == "https" {
		secure := tls.Client(conn, &tls.Config{ServerName: p.URL.Hostname(), RootCAs: p.Roots, MinVersion: tls.VersionTLS12})
		if err := secure.HandshakeContext(ctx); err != nil {
			return failed(Untrusted, err)
		}
		conn = secure
	}
	request := p.request(to)
	if err := request.Write(conn); err != nil {
		return failed(NoProxy, err)
	}
	limited := &io.LimitedReader{R: conn, N: maxAnswer}
	reader := bufio.NewReader(limited)
	response, err := http.ReadResponse(reader, request) //nolint:bodyclose // closing reads the rest, and the caller closes the connection
	if err != nil {
		return failed(NoProxy, err)
	}
	if response.StatusCode/100 != 2 { // its body is left unread
		return nil, &Error{Kind: kindOf(response.StatusCode), Status: response.StatusCode, Err: errors.New("CONNECT: " + response.Status)}
	}
	limited.N = math.MaxInt64
	if !stop() {
		return failed(Silent, ctx.Err())
	}
	return &readAhead{Conn: conn, reader: reader}, nil
}

func (p *Proxy) request(to string) *http.Request {
	request := &http.Request{
		Method: http.MethodConnect, URL: &url.URL{Opaque: to}, Host: to, Header: http.Header{"User-Agent": {"countersign"}},
	}
	if user := p.URL.User; user != nil {
		password, _ := user.Password()
		asBasic := &http.Request{Header: http.Header{}}
		asBasic.SetBasicAuth(user.Username(), password)
		request.Header.Set("Proxy-Authorization", asBasic.Header.Get("Authorization"))
	}
	return request
}

func kindOf(status int) Kind {
	switch status {
	case http.StatusProxyAuthRequired:
		return Password
	case http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusUnavailableForLegalReasons:
		return Forbidden
	}
	return Failed
}

// readAhead is a connection of which some bytes may have been read with the proxy's answer.
type readAhead struct {
	net.Conn
	reader *bufio.Reader
}

func (c *readAhead) Read(b []byte) (int, error) { return c.reader.Read(b) }
