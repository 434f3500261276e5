package certs

import (
	"bufio"
	"context"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"countersign/internal/tunnel"
	"countersign/testsite"
)

// proxyServer connects everybody with one address, whatever they ask for, and remembers what that was.
type proxyServer struct {
	to     string // where it connects; empty: it answers with status
	status int

	mu    sync.Mutex
	asked []*http.Request // guarded by mu
}

// serve handles a client's CONNECT.
func (p *proxyServer) serve(c net.Conn) {
	request, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, request)
	p.mu.Unlock()
	if p.to == "" {
		_, _ = fmt.Fprintf(c, "HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n", p.status)
		return
	}
	_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	join(c, p.to)
}

// join connects a connection with an address, until either end closes.
func join(c net.Conn, to string) {
	site, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	var working sync.WaitGroup
	working.Go(func() {
		_, _ = io.Copy(c, site)
		c.Close()
		site.Close()
	})
	_, _ = io.Copy(site, c)
	site.Close()
	working.Wait()
}

// targets are what clients asked for, each once.
func (p *proxyServer) targets() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, request := range p.asked {
		if request.Method != http.MethodConnect {
			all = append(all, request.Method)
		}
		all = append(all, request.RequestURI)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func parseProxy(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := tunnel.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// through is a configuration in which names have addresses and sites are asked through a proxy.
func through(ca *testsite.CA, resolver Resolver, proxy *Proxy) NetworkConfig {
	return NetworkConfig{Roots: ca.Roots(), Proxy: proxy, Resolver: resolver, Timeout: patience, Backoff: time.Millisecond}
}

// noDNS is a resolver for networks whose name server knows nothing of the outside.
func noDNS(t *testing.T) Resolver {
	names := &nameServer{code: dnsmessage.RCodeNameError, answer: func(int64) netip.Addr { return netip.Addr{} }}
	return names.resolver(t)
}

func TestLooksGoThroughAProxy(t *testing.T) {
	ca := newCA(t)
	_, address := serve(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P256()})
	certificate := newSite(t, ca, "proxy.example", testsite.SiteConfig{Curve: elliptic.P256()})
	secure := configOf(certificate, func(*tls.Config) {})
	for _, c := range []struct {
		name     string
		resolver Resolver
		here     bool
		want     string // asked of the proxy
	}{
		{"the proxy looks the name up", noDNS(t), false, siteName + ":443"},
		{"the proxy looks the name up, though it is known here", resolver(t, publicAddress), false, siteName + ":443"},
		{"the name is looked up here", resolver(t, publicAddress), true, publicAddress + ":443"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := &proxyServer{to: address}
			p := &Proxy{Proxy: tunnel.Proxy{URL: parseProxy(t, "http://user:p%40ss@"+listen(t, server.serve))}, LookUpHere: c.here}
			chains, err := lookAt(t.Context(), through(ca, c.resolver, p), siteName)
			if err != nil || len(chains) != 1 {
				t.Fatalf("%d chains: %v", len(chains), err)
			}
			if got := server.targets(); !slices.Equal(got, []string{c.want}) {
				t.Errorf("the proxy was asked for %q, want %s", got, c.want)
			}
			head := &http.Request{Header: http.Header{"Authorization": server.asked[0].Header["Proxy-Authorization"]}}
			if user, password, _ := head.BasicAuth(); user != "user" || password != "p@ss" {
				t.Errorf("the proxy was given the user %q and the password %q", user, password)
			}
		})
	}
	t.Run("over TLS", func(t *testing.T) {
		server := &proxyServer{to: address}
		var config atomic.Pointer[tls.Config]
		config.Store(secure)
		listener := listen(t, func(c net.Conn) {
			proxied := tls.Server(c, config.Load())
			server.serve(proxied)
			_ = proxied.Close()
		})
		_, port, _ := net.SplitHostPort(listener)
		p := &Proxy{Proxy: tunnel.Proxy{URL: parseProxy(t, "https://localhost:"+port), Roots: ca.Roots()}}
		_, err := lookAt(t.Context(), through(ca, noDNS(t), p), siteName)
		unavailable(t, err, siteName, "the proxy through which this service asks sites shows no certificate that is trusted here")
		config.Store(configOf(newSite(t, ca, "localhost", testsite.SiteConfig{Curve: elliptic.P256()}), func(*tls.Config) {}))
		if chains, err := lookAt(t.Context(), through(ca, noDNS(t), p), siteName); err != nil || len(chains) != 1 {
			t.Errorf("%d chains: %v", len(chains), err)
		}
	})
	t.Run("SOCKS 5", func(t *testing.T) {
		var mu sync.Mutex
		var asked string
		socks := listen(t, func(c net.Conn) {
			target := acceptSOCKS(c, 0)
			mu.Lock()
			asked = target
			mu.Unlock()
			join(c, address)
		})
		p := &Proxy{Proxy: tunnel.Proxy{URL: parseProxy(t, "socks5h://"+socks)}}
		if chains, err := lookAt(t.Context(), through(ca, noDNS(t), p), siteName); err != nil || len(chains) != 1 {
			t.Errorf("%d chains: %v", len(chains), err)
		}
		mu.Lock()
		defer mu.Unlock()
		if asked != siteName {
			t.Errorf("the proxy was asked for %q", asked)
		}
	})
}

// acceptSOCKS answers a client that has no password (RFC 1928), and returns the name that it asks for.
func acceptSOCKS(c net.Conn, reply byte) (name string) {
	r := bufio.NewReader(c)
	greeting := make([]byte, 2)
	_, _ = io.ReadFull(r, greeting)
	_, _ = r.Discard(int(greeting[1]))
	_, _ = c.Write([]byte{5, 0})
	head := make([]byte, 5) // version, command, reserved, type of address (3: a name), its length
	_, _ = io.ReadFull(r, head)
	text := make([]byte, head[4])
	_, _ = io.ReadFull(r, text)
	_, _ = r.Discard(2)
	_, _ = c.Write([]byte{5, reply, 0, 1, 0, 0, 0, 0, 0, 0})
	return string(text)
}

// Names that lead into the operator's own network are not asked for, as far as this process can know.
func TestAProxyIsNotAskedForPrivateAddresses(t *testing.T) {
	ca := newCA(t)
	site, address := serve(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P256()})
	for _, here := range []bool{true, false} {
		server := &proxyServer{to: address}
		p := &Proxy{Proxy: tunnel.Proxy{URL: parseProxy(t, listen(t, server.serve))}, LookUpHere: here}
		_, err := lookAt(t.Context(), through(ca, resolver(t, "10.0.0.1", "127.0.0.1"), p), siteName)
		unavailable(t, err, siteName, "no public address in DNS")
		if got := server.targets(); len(got) > 0 {
			t.Errorf("the proxy was asked for %q", got)
		}
	}
	p := &Proxy{Proxy: tunnel.Proxy{URL: parseProxy(t, "127.0.0.1:1")}, LookUpHere: true}
	_, err := lookAt(t.Context(), through(ca, noDNS(t), p), siteName)
	unavailable(t, err, siteName, "no public address in DNS")
	if site.Connections() != 0 {
		t.Errorf("%d connections to the site", site.Connections())
	}
}

// What --cert-host names, and what is excepted, is asked directly.
func TestSomeSitesAreAskedWithoutTheProxy(t *testing.T) {
	ca := newCA(t)
	_, address := serve(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P256()})
	server := &proxyServer{status: http.StatusForbidden}
	p := &Proxy{Proxy: tunnel.Proxy{URL: parseProxy(t, listen(t, server.serve))}, Except: func(site string) bool { return site == siteName }}
	config := at(ca, address)
	config.Proxy = p
	if _, err := lookAt(t.Context(), config, siteName); err != nil {
		t.Error(err)
	}
	config = through(ca, resolver(t, publicAddress), p)
	config.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	if _, err := lookAt(t.Context(), config, siteName); err != nil {
		t.Error(err)
	}
	if got := server.targets(); len(got) > 0 {
		t.Errorf("the proxy was asked for %q", got)
	}
}

func TestReasonsTellOfTheProxy(t *testing.T) {
	ca := newCA(t)
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused.Close()
	status := func(code int) string { return listen(t, (&proxyServer{status: code}).serve) }
	socks := func(reply byte) string {
		return "socks5://" + listen(t, func(c net.Conn) { acceptSOCKS(c, reply) })
	}
	for _, c := range []struct {
		name, proxy, why string
		askedAgain       bool
	}{
		{"refuses connections", refused.Addr().String(), "can't be reached; the operator", true},
		{"wants a password", status(407), "demands a user and a password", false},
		{"forbids", status(403), "refuses to connect to port 443 of the site (403)", false},
		{"can't connect", status(502), "can't connect to port 443 of the site (502)", true},
		{"is a web server", status(400), "can't connect to port 443 of the site (400)", false},
		{"is none", listen(t, say("SSH-2.0-x\r\n")), "is no such proxy", false},
		{"closes", listen(t, func(net.Conn) {}), "is no such proxy", false},
		{"is silent", listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), timedOut, false},
		{"is none over TLS", "https://" + status(200), "shows no certificate", false},
		{"SOCKS can't connect", socks(4), "can't connect to port 443 of the site;", true},
		{"SOCKS forbids", socks(2), "refuses to connect to port 443", false},
		{"SOCKS refuses connections", "socks5://" + refused.Addr().String(), "can't be reached; the operator", true},
		{"speaks no SOCKS", "socks5://" + listen(t, say("HTTP/1.1 400 Bad Request\r\n\r\n")), "is no such proxy", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			config := through(ca, noDNS(t), &Proxy{Proxy: tunnel.Proxy{URL: parseProxy(t, c.proxy)}})
			if c.why == timedOut {
				config.Timeout = 300 * time.Millisecond
			}
			_, err := lookAt(t.Context(), config, siteName)
			u := unavailable(t, err, siteName, c.why)
			if isTemporary(u.Err) != c.askedAgain {
				t.Errorf("asked again: %t, want %t: %v", !c.askedAgain, c.askedAgain, u.Err)
			}
			if !strings.Contains(u.Reason, "proxy") {
				t.Errorf("%q doesn't tell of the proxy", u.Reason)
			}
		})
	}
}

// Where nothing is reached, the reason says that no proxy was used.
func TestReasonsTellThatSitesAreAskedDirectly(t *testing.T) {
	ca := newCA(t)
	names := &nameServer{code: dnsmessage.RCodeServerFailure, answer: func(int64) netip.Addr { return netip.Addr{} }}
	lost := func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: context.DeadlineExceeded}
	}
	excepted := &Proxy{Proxy: tunnel.Proxy{URL: parseProxy(t, "127.0.0.1:1")}, Except: func(string) bool { return true }}
	for _, c := range []struct {
		name     string
		resolver Resolver
		proxy    *Proxy
		why      string
	}{
		{"no DNS", names.resolver(t), nil, "--cert-proxy"},
		{"packets are lost", resolver(t, publicAddress), nil, "--cert-proxy"},
		{"excepted", resolver(t, publicAddress), excepted, "has excepted it from the proxy"},
	} {
		config := through(ca, c.resolver, c.proxy)
		config.DialContext = lost
		_, err := lookAt(t.Context(), config, siteName)
		if u := unavailable(t, err, siteName, c.why); !strings.Contains(u.Reason, "directly") {
			t.Errorf("%s: %q", c.name, u.Reason)
		}
	}
	_, err := lookAt(t.Context(), through(ca, resolver(t, "10.0.0.1"), nil), siteName)
	if u := unavailable(t, err, siteName, "no public address"); strings.Contains(u.Reason, "directly") {
		t.Errorf("%q tells of proxies, which would change nothing", u.Reason)
	}
}

// Made-up names whose address only the proxy knows have the bounds of one address for each domain.
func TestVisitsThroughAProxyHaveTurns(t *testing.T) {
	l := newDialLimiter(time.Now)
	var leaves []func(int)
	for range maxVisits {
		_, leave, err := l.visit(t.Context(), netip.Addr{}, ofDomain("a.example.com"))
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leave)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := l.visit(ctx, netip.Addr{}, ofDomain("b.example.com")); err == nil {
		t.Error("a fifth visit began at the same domain")
	}
	_, leave, err := l.visit(t.Context(), netip.Addr{}, ofDomain("other.example.org"))
	if err != nil {
		t.Fatal(err)
	}
	for _, leave := range append(leaves, leave) {
		leave(visitConnections)
	}
}

// Reasons for chains that crypto/x509 refuses in ways that the test site can't show.
func TestReasonsOfChains(t *testing.T) {
	ca := newCA(t)
	parse := func(name string, config testsite.SiteConfig) *x509.Certificate {
		config.Curve = elliptic.P256()
		leaf, err := x509.ParseCertificate(newSite(t, ca, name, config).Chains()[0][0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf
	}
	leaf, other := parse(siteName, testsite.SiteConfig{}), parse("other.example", testsite.SiteConfig{})
	invalid := func(of *x509.Certificate, reason x509.InvalidReason) error {
		return x509.CertificateInvalidError{Cert: of, Reason: reason}
	}
	noNames := *leaf
	noNames.DNSNames = nil
	wrong := func(of *x509.Certificate, host string) error { return x509.HostnameError{Certificate: of, Host: host} }
	sha1 := *leaf
	sha1.SignatureAlgorithm = x509.SHA1WithRSA
	for _, c := range []struct {
		err    error
		served []*x509.Certificate
		want   string
	}{
		{invalid(leaf, x509.IncompatibleUsage), nil, "its certificate isn't meant for servers"},
		{invalid(other, x509.Expired), nil, "an authority's certificate in its chain has expired on 20"},
		{invalid(other, x509.NotAuthorizedToSign), nil, "isn't an authority's"},
		{invalid(other, x509.CANotAuthorizedForThisName), nil, "name constraints"},
		{x509.UnhandledCriticalExtension{}, nil, "critical extension"},
		{x509.UnknownAuthorityError{}, []*x509.Certificate{leaf}, "came alone, without an intermediate"},
		{x509.UnknownAuthorityError{}, []*x509.Certificate{leaf, other}, "an intermediate is missing"},
		{x509.UnknownAuthorityError{}, []*x509.Certificate{&sha1, other}, "signed with SHA1-RSA"},
		{wrong(&noNames, siteName), nil, "its common name doesn't count"},
		{wrong(parse(siteName, testsite.SiteConfig{Names: []string{"*.site.example"}}), siteName), nil, "exactly one label"},
		{wrong(parse(siteName, testsite.SiteConfig{Names: []string{"*.example"}}), "a.b.example"), nil, "exactly one label"},
		{wrong(other, siteName), nil, "for other names; serve"},
	} {
		if c.served == nil {
			c.served = []*x509.Certificate{leaf}
		}
		got := certificateReason(&tls.CertificateVerificationError{UnverifiedCertificates: c.served, Err: c.err})
		if !strings.Contains(got, c.want) || !strings.Contains(got, ";") {
			t.Errorf("%q, want one that has %q and a remedy", got, c.want)
		}
	}
}
