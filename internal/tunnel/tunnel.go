package tunnel

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Proxy is where a proxy is and how it is asked. It isn't changed while it is used, and is safe for concurrent use.
type Proxy struct {
	// URL is the proxy's, with user and password where it wants them: [Parse] reads it.
	URL *url.URL
	// Roots are the authorities for the certificate of a proxy that is reached over TLS. Nil: the system's.
	Roots *x509.CertPool
}

// ports are the schemes of proxies, with the ports where the URL names none.
var ports = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

// Parse reads the URL of a proxy: http, https, socks5 or socks5h (which mean the same here), or host:port, which is
// http. The error doesn't quote it, because it may hold a password.
func Parse(text string) (*url.URL, error) {
	const want = "; write http://host:port, https://host:port or socks5://host:port, with user:password@ before the host " +
		"where the proxy wants them (special characters percent-encoded)"
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("it can't be read as a URL" + want)
	case ports[u.Scheme] == "":
		return nil, fmt.Errorf("there are no proxies with %q%s", u.Scheme, want)
	case u.Hostname() == "":
		return nil, errors.New("it names no host" + want)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("a proxy has no path, query or fragment" + want)
	}
	return u, nil
}

// Address is where the proxy listens, as host:port.
func (p *Proxy) Address() string {
	port := p.URL.Port()
	if port == "" {
		port = ports[p.URL.Scheme]
	}
	return net.JoinHostPort(p.URL.Hostname(), port)
}

// Dial has the proxy connect to a host:port, and returns the connection. Where host is a name, the proxy looks it up.
// ctx bounds the call alone. Its errors are *[Error].
func (p *Proxy) Dial(ctx context.Context, to string) (net.Conn, error) {
	if strings.HasPrefix(p.URL.Scheme, "socks5") {
		return p.dialSOCKS(ctx, to)
	}
	conn, err := p.reach(ctx, "tcp", p.Address())
	if err != nil {
		return nil, err
	}
	through, err := p.connect(ctx, conn, to)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return through, nil
}

// reach makes a connection to the proxy itself.
func (p *Proxy) reach(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, network, address)
	if err != nil {
		return nil, &Error{Kind: Away, Err: err}
	}
	return conn, nil
}

// Error is why there is no connection through the proxy.
type Error struct {
	Kind   Kind
	Status int // that an HTTP proxy answered with; 0: none
	Err    error
}

// Kind says who has to mend what.
type Kind int

const (
	Away      Kind = iota // the proxy can't be reached
	Untrusted             // its TLS handshake failed
	NoProxy               // what answers is no such proxy
	Password              // it demands a user and a password, or others
	Forbidden             // it doesn't allow the connection
	Silent                // it has not connected in time
	Failed                // it can't connect
)

func (e *Error) Error() string { return "the proxy: " + e.Err.Error() }

// Unwrap gives Err.
func (e *Error) Unwrap() error { return e.Err }

// ForAll says that no connection comes about through this proxy, wherever it leads.
func (e *Error) ForAll() bool {
	switch e.Kind {
	case Away, Untrusted, NoProxy, Password:
		return true
	default:
		return false
	}
}

// Temporary reports whether the same call may succeed in a moment.
func (e *Error) Temporary() bool {
	const badGateway, unavailable = 502, 503
	return e.Kind == Away || e.Kind == Failed && (e.Status == 0 || e.Status == badGateway || e.Status == unavailable)
}

// timedOut says that a call took too long.
func timedOut(ctx context.Context, err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ctx.Err() != nil || ok && timeout.Timeout()
}
