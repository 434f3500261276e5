package certs

// Looks through a proxy, for networks from which nothing else leads out.
//
// Who looks up the names of sites decides who keeps looks away from private addresses (I7). The usual way is that of
// every program: the proxy gets the name (LookUpHere is false). Then the proxy must refuse to connect to its own network.
// The check of addresses holds as far as DNS answers here, too, within hintTime. With LookUpHere the proxy gets an
// address that was looked up and checked here, as without a proxy; not every proxy takes addresses.
//
// The turns of addresses hold either way. Where only the proxy knows the address of a name, its registrable domain
// stands for it.
//
// golang.org/x/net/proxy has SOCKS 5 and no CONNECT. The library's http.Transport has CONNECT, and no way to the
// connection that it makes.

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/proxy"
)

// hintTime is how long a name may take to be looked up here where the proxy looks it up.
const hintTime = time.Second

// maxProxyAnswer bounds the head of a proxy's answer to CONNECT, in bytes.
const maxProxyAnswer = 64 << 10

// Proxy says how sites are reached through a proxy. It isn't changed while it is used.
type Proxy struct {
	// URL is the proxy's, with user and password where it wants them: [ParseProxy] reads it.
	URL *url.URL
	// LookUpHere has the names of sites looked up by this process, and the proxy connect to their addresses. Otherwise
	// the proxy looks the names up.
	LookUpHere bool
	// Except says which sites are asked directly. Nil: none.
	Except func(site string) bool
	// Roots are the authorities for the certificate of a proxy that is reached over TLS. Nil: the system's.
	Roots *x509.CertPool
}

// proxyPorts are the schemes of proxies, with the ports where the URL names none.
var proxyPorts = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

// ParseProxy reads the URL of a proxy: http, https, socks5 or socks5h (which mean the same here), or host:port, which is
// http. The error doesn't quote it, because it may hold a password.
func ParseProxy(text string) (*url.URL, error) {
	const want = "; write http://host:port, https://host:port or socks5://host:port, with user:password@ before the host " +
		"where the proxy wants them (special characters percent-encoded)"
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("it can't be read as a URL" + want)
	case proxyPorts[u.Scheme] == "":
		return nil, fmt.Errorf("there are no proxies with %q%s", u.Scheme, want)
	case u.Hostname() == "":
		return nil, errors.New("it names no host" + want)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("a proxy has no path, query or fragment" + want)
	}
	return u, nil
}

// address is where the proxy listens.
func (p *Proxy) address() string {
	port := p.URL.Port()
	if port == "" {
		port = proxyPorts[p.URL.Scheme]
	}
	return net.JoinHostPort(p.URL.Hostname(), port)
}

// dial has the proxy connect to a host:port. Its errors are *[proxyError].
func (p *Proxy) dial(ctx context.Context, _, to string) (net.Conn, error) {
	if strings.HasPrefix(p.URL.Scheme, "socks5") {
		return p.dialSOCKS(ctx, to)
	}
	conn, err := p.connect(ctx, "tcp", p.address())
	if err != nil {
		return nil, err
	}
	through, err := p.ask(ctx, conn, to)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return through, nil
}

// connect makes a connection to the proxy.
func (p *Proxy) connect(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, network, address)
	if err != nil {
		return nil, &proxyError{kind: proxyAway, err: err}
	}
	return conn, nil
}

// ask sends CONNECT (RFC 9110, section 9.3.6) and returns the connection to the site.
func (p *Proxy) ask(ctx context.Context, conn net.Conn, to string) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	failed := func(kind proxyFailure, err error) (net.Conn, error) {
		if ctx.Err() != nil || isTimeout(err) {
			kind = proxySilent
		}
		return nil, &proxyError{kind: kind, err: err}
	}
	if p.URL.Scheme == "https" {
		secure := tls.Client(conn, &tls.Config{ServerName: p.URL.Hostname(), RootCAs: p.Roots, MinVersion: tls.VersionTLS12})
		if err := secure.HandshakeContext(ctx); err != nil {
			return failed(proxyTLS, err)
		}
		conn = secure
	}
	request := &http.Request{
		Method: http.MethodConnect, URL: &url.URL{Opaque: to}, Host: to, Header: http.Header{"User-Agent": {"countersign"}},
	}
	if user := p.URL.User; user != nil {
		password, _ := user.Password()
		asBasic := &http.Request{Header: http.Header{}}
		asBasic.SetBasicAuth(user.Username(), password)
		request.Header.Set("Proxy-Authorization", asBasic.Header.Get("Authorization"))
	}
	if err := request.Write(conn); err != nil {
		return failed(proxyNoHTTP, err)
	}
	limited := &io.LimitedReader{R: conn, N: maxProxyAnswer}
	reader := bufio.NewReader(limited)
	response, err := http.ReadResponse(reader, request)
	if err != nil {
		return failed(proxyNoHTTP, err)
	}
	if response.StatusCode/100 != 2 { // its body is left unread
		return nil, &proxyError{kind: proxyRefused, status: response.StatusCode, err: errors.New("CONNECT: " + response.Status)}
	}
	limited.N = math.MaxInt64
	if !stop() {
		return failed(proxySilent, ctx.Err())
	}
	return &readAhead{Conn: conn, reader: reader}, nil
}

// readAhead is a connection of which some bytes were read with the proxy's answer.
type readAhead struct {
	net.Conn
	reader *bufio.Reader
}

func (c *readAhead) Read(b []byte) (int, error) { return c.reader.Read(b) }

func (p *Proxy) dialSOCKS(ctx context.Context, to string) (net.Conn, error) {
	var auth *proxy.Auth
	if user := p.URL.User; user != nil {
		password, _ := user.Password()
		auth = &proxy.Auth{User: user.Username(), Password: password}
	}
	dialer, err := proxy.SOCKS5("tcp", p.address(), auth, forward(p.connect))
	if err != nil {
		return nil, &proxyError{kind: proxyAway, err: err}
	}
	conn, err := dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", to)
	if err == nil {
		return conn, nil
	}
	if away, ok := errors.AsType[*proxyError](err); ok {
		return nil, away
	}
	failed := &proxyError{kind: proxyRefused, err: err}
	switch text := err.Error(); {
	case ctx.Err() != nil || isTimeout(err):
		failed.kind = proxySilent
	case strings.Contains(text, "authentication"):
		failed.status = http.StatusProxyAuthRequired
	case strings.Contains(text, "not allowed by ruleset"):
		failed.status = http.StatusForbidden
	case strings.Contains(text, "unexpected protocol version"), isHangUp(err):
		failed.kind = proxyNoHTTP
	}
	return nil, failed
}

// forward is the dialer below SOCKS.
type forward func(ctx context.Context, network, address string) (net.Conn, error)

// Dial is never called: SOCKS5 prefers DialContext.
func (f forward) Dial(network, address string) (net.Conn, error) {
	return f(context.Background(), network, address)
}

// DialContext connects to the proxy.
func (f forward) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

// proxyError is why a site wasn't reached through the proxy.
type proxyError struct {
	kind   proxyFailure
	status int // of HTTP, of a proxyRefused; 0: unknown
	err    error
}

type proxyFailure int

const (
	proxyAway    proxyFailure = iota // it can't be reached
	proxySilent                      // it is there and doesn't answer
	proxyTLS                         // its TLS handshake failed
	proxyNoHTTP                      // what answers is no such proxy
	proxyRefused                     // it answers, and doesn't connect
)

func (e *proxyError) Error() string { return "the proxy: " + e.err.Error() }
func (e *proxyError) Unwrap() error { return e.err }

// ours says that the operator has to mend it, whatever the site.
func (e *proxyError) ours() bool {
	return e.kind != proxyRefused && e.kind != proxySilent || e.status == http.StatusProxyAuthRequired
}

// temporary reports whether the same question may have another answer in a moment.
func (e *proxyError) temporary() bool {
	switch e.kind {
	case proxyAway:
		return true
	case proxyRefused:
		return e.status == 0 || e.status == http.StatusBadGateway || e.status == http.StatusServiceUnavailable
	default:
		return false
	}
}

// reason names no address: it would tell strangers about the operator's network.
func (e *proxyError) reason(timeout time.Duration) string {
	const proxy, setting = "the proxy through which this service asks sites ", "--cert-proxy or HTTPS_PROXY"
	switch e.kind {
	case proxyAway:
		return proxy + "can't be reached; the operator of this service must see to the proxy, or correct " + setting
	case proxySilent:
		return fmt.Sprintf("%shas not connected to port 443 of the site within %s; check that the site is up and open to the "+
			"Internet, or have the operator of this service look at the proxy", proxy, seconds(timeout))
	case proxyTLS:
		return proxy + "shows no certificate that is trusted here; the operator of this service must mend that, or correct " + setting
	case proxyNoHTTP:
		return "what answers in place of " + proxy + "is no such proxy; the operator of this service must correct " + setting
	case proxyRefused:
	}
	switch e.status {
	case http.StatusProxyAuthRequired:
		return proxy + "demands a user and a password that it knows (407); the operator of this service must put them into the URL of " + setting
	case http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusUnavailableForLegalReasons:
		return fmt.Sprintf("%srefuses to connect to port 443 of the site (%d); the operator of this service must have that allowed",
			proxy, e.status)
	case 0:
		return proxy + "can't connect to port 443 of the site; check that the site is up and open to the Internet"
	}
	return fmt.Sprintf("%scan't connect to port 443 of the site (%d); check that the site is up and open to the Internet",
		proxy, e.status)
}

// proxied says whether a site is asked through the proxy.
func (n *network) proxied(site string) bool {
	_, named := n.Hosts[site]
	return n.Proxy != nil && !named && (n.Proxy.Except == nil || !n.Proxy.Except(site))
}

// named is the target of a site whose name the proxy looks up.
func (n *network) named(ctx context.Context, t target) ([]target, error) {
	t.name = net.JoinHostPort(t.site, n.Port)
	hint, cancel := context.WithTimeout(ctx, hintTime)
	defer cancel()
	if addresses, err := n.Resolver.LookupNetIP(hint, "ip", t.site+"."); err == nil {
		chosen, err := choose(addresses, n.Allowed)
		if err != nil {
			return nil, &probeError{stage: stageDial, err: err}
		}
		t.address = netip.AddrPortFrom(chosen[0], 0)
	}
	return []target{t}, nil
}

// hint says, beside a reason, that a site was not asked through a proxy; empty: that has nothing to do with it.
func (n *network) hint(site string, err error) string {
	failed, ok := errors.AsType[*probeError](err)
	_, named := n.Hosts[site]
	switch {
	case !ok || !mayNeedProxy(failed) || n.proxied(site), named && n.Proxy == nil:
		return ""
	case n.Proxy != nil:
		return ". This service asks this site directly, because its operator has excepted it from the proxy"
	}
	return ". This service asks sites directly; if only a proxy leads out of its network, its operator must set --cert-proxy"
}
