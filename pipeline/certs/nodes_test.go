package certs

// Sites with several addresses: a name server of the test gives them, and listeners on 127.0.0.x answer on one port.

import (
	"bytes"
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"countersign/testsite"
)

// nodes serves sites on addresses of their own and one port.
type nodes struct {
	port string
}

// newNodes finds a port that is free on all of the addresses, and handles each address's connections as told, until the
// test ends.
func newNodes(t *testing.T, handlers map[string]func(net.Conn)) *nodes {
	t.Helper()
	for range 100 {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(free.Addr().String())
		free.Close()
		if listenAll(t, handlers, port) {
			return &nodes{port: port}
		}
	}
	t.Fatal("no port is free on all addresses")
	return nil
}

func listenAll(t *testing.T, handlers map[string]func(net.Conn), port string) bool {
	t.Helper()
	var listeners []net.Listener
	for address := range handlers {
		listener, err := net.Listen("tcp", net.JoinHostPort(address, port))
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			return false
		}
		listeners = append(listeners, listener)
	}
	for _, l := range listeners {
		host, _, _ := net.SplitHostPort(l.Addr().String())
		handle(t, l, handlers[host])
	}
	return true
}

// config finds the sites at addresses, and relaxes the rule which may be dialled.
func (n *nodes) config(t *testing.T, ca *testsite.CA, addresses ...string) NetworkConfig {
	return NetworkConfig{
		Roots: ca.Roots(), Timeout: patience, Backoff: time.Millisecond, Port: n.port,
		Resolver: resolver(t, addresses...), Allowed: netip.Addr.IsLoopback,
	}
}

// shows makes the handshakes of a site.
func shows(t *testing.T, site *testsite.Site) func(net.Conn) {
	var pairs []tls.Certificate
	for _, chain := range site.Chains() {
		key := crypto.PrivateKey(site.ECDSAKey())
		if leaf, err := (Chain{Certificates: chain}).Leaf(); err != nil {
			t.Fatal(err)
		} else if k, err := leafKind(leaf); err == nil && k == kindRSA {
			key = site.RSAKey()
		}
		pairs = append(pairs, tls.Certificate{Certificate: chain, PrivateKey: key})
	}
	return func(c net.Conn) { tls.Server(c, &tls.Config{Certificates: pairs}).Handshake() }
}

func hang(c net.Conn) { io.Copy(io.Discard, c) }

func TestALookAsksEveryNode(t *testing.T) {
	ca := newCA(t)
	one := newSite(t, ca, siteName, testsite.SiteConfig{Keys: []crypto.Signer{rsaKey(), keyAt(t, elliptic.P256())}})
	other := newSite(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P384()})
	expired := newSite(t, ca, siteName, testsite.SiteConfig{
		Curve: elliptic.P384(), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
	})
	n := newNodes(t, map[string]func(net.Conn){
		"127.0.0.2": shows(t, one), "127.0.0.3": shows(t, other), "127.0.0.5": func(net.Conn) {},
		"127.0.0.6": shows(t, expired), "::1": shows(t, one),
	})
	for _, c := range []struct {
		name      string
		addresses []string
		want      []*testsite.Site
		partial   bool
	}{
		{"two nodes", []string{"127.0.0.2", "127.0.0.3"}, []*testsite.Site{one, other}, false},
		{"one refuses connections", []string{"127.0.0.4", "127.0.0.3"}, []*testsite.Site{other}, true},
		{"one hangs up", []string{"127.0.0.2", "127.0.0.5"}, []*testsite.Site{one}, true},
		{"one has an expired certificate", []string{"127.0.0.6", "127.0.0.2", "127.0.0.3"}, []*testsite.Site{one, other}, true},
		{"IPv6 and IPv4", []string{"127.0.0.3", "::1"}, []*testsite.Site{one, other}, false},
		{"both nodes have the same", []string{"127.0.0.2", "::1"}, []*testsite.Site{one}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, partial, err := newNetwork(n.config(t, ca, c.addresses...)).look(t.Context(), siteName, ofDomain(siteName))
			if err != nil {
				t.Fatal(err)
			}
			if partial != c.partial {
				t.Errorf("partial: %t, want %t", partial, c.partial)
			}
			want := map[[32]byte]bool{}
			for _, site := range c.want {
				for _, chain := range site.Chains() {
					want[Chain{Certificates: chain}.Fingerprint()] = true
				}
			}
			if len(found) != len(want) {
				t.Errorf("%d chains, want %d", len(found), len(want))
			}
			for i, f := range found {
				if !want[f.chain.Fingerprint()] {
					t.Errorf("chain %d is none of those that are served", i)
				}
			}
		})
	}
	t.Run("all fail: the one that came furthest is told of", func(t *testing.T) {
		_, err := lookAt(t.Context(), n.config(t, ca, "127.0.0.4", "127.0.0.6", "127.0.0.5"), siteName)
		unavailable(t, err, siteName, "expired")
	})
}

// The operator can see which address failed; the uploader can't.
func TestTheOperatorIsToldWhichAddressFailed(t *testing.T) {
	ca := newCA(t)
	site := newSite(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P256()})
	n := newNodes(t, map[string]func(net.Conn){"127.0.0.2": shows(t, site)})
	config := n.config(t, ca, "127.0.0.2", "127.0.0.4")
	var log bytes.Buffer
	config.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if _, err := lookAt(t.Context(), config, siteName); err != nil {
		t.Fatal(err)
	}
	text := log.String()
	if !strings.Contains(text, "127.0.0.4") || strings.Contains(text, "127.0.0.2") || strings.Count(text, "\n") != 1 {
		t.Errorf("the log has %q, want a line about 127.0.0.4 alone", text)
	}
}

// A node that hangs costs the others' answer settleTime: the look would take its whole time-out of a minute otherwise.
func TestANodeThatHangsCostsASecond(t *testing.T) {
	ca := newCA(t)
	site := newSite(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P256()})
	n := newNodes(t, map[string]func(net.Conn){"127.0.0.2": hang, "127.0.0.3": shows(t, site)})
	config := n.config(t, ca, "127.0.0.2", "127.0.0.3")
	config.Timeout = 10 * patience
	began := time.Now()
	found, partial, err := newNetwork(config).look(t.Context(), siteName, ofDomain(siteName))
	if err != nil || len(found) != 1 || !partial {
		t.Fatalf("%d chains, partial %t, %v", len(found), partial, err)
	}
	if took := time.Since(began); took < settleTime || took > 2*patience {
		t.Errorf("it took %s, want at least %s and far less than the time-out of %s", took, settleTime, config.Timeout)
	}
}

func TestAtMostFourAddressesAreAsked(t *testing.T) {
	addresses := func(texts ...string) (all []netip.Addr) {
		for _, text := range texts {
			all = append(all, netip.MustParseAddr(text))
		}
		return all
	}
	public := publicBut(nil)
	for _, c := range []struct{ name, from, want string }{
		{"one", "1.1.1.1", "1.1.1.1"},
		{"five of IPv4", "1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4 1.1.1.5", "1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4"},
		{"both families", "2a00::1 2a00::2 2a00::3 1.1.1.1 1.1.1.2 1.1.1.3", "1.1.1.1 2a00::1 1.1.1.2 2a00::2"},
		{"one of IPv4", "2a00::1 2a00::2 2a00::3 2a00::4 1.1.1.1", "1.1.1.1 2a00::1 2a00::2 2a00::3"},
		{"private ones take no places", "10.0.0.1 10.0.0.2 ::1 127.0.0.1 1.1.1.1", "1.1.1.1"},
		{"twice the same", "1.1.1.1 ::ffff:1.1.1.1 1.1.1.1", "1.1.1.1"},
	} {
		got, err := choose(addresses(strings.Fields(c.from)...), public)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var texts []string
		for _, address := range got {
			texts = append(texts, address.String())
		}
		if strings.Join(texts, " ") != c.want {
			t.Errorf("%s: %s, want %s", c.name, texts, c.want)
		}
	}
	for _, none := range [][]netip.Addr{nil, addresses("10.0.0.1", "fe80::1")} {
		if _, err := choose(none, public); !errors.Is(err, errNotPublic) {
			t.Errorf("of %v: %v, want errNotPublic", none, err)
		}
	}
}

// Strangers learn nothing of the names in the operator's network: one that exists there and one that doesn't get the
// same text.
func TestAPrivateNameLooksLikeNone(t *testing.T) {
	_, private := lookAt(t.Context(), NetworkConfig{Resolver: resolver(t, "10.0.0.1")}, siteName)
	_, none := lookAt(t.Context(), NetworkConfig{Resolver: notFound{}}, siteName)
	one := unavailable(t, private, siteName, "no public address")
	other := unavailable(t, none, siteName, "no public address")
	if one.Reason != other.Reason {
		t.Errorf("%q and %q, want one text", one.Reason, other.Reason)
	}
}

type notFound struct{}

func (notFound) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// A chain that doesn't fit a record of the log is refused with a reason.
func TestALongChainIsRefused(t *testing.T) {
	ca := newCA(t)
	var names []string
	for i := range 4000 {
		names = append(names, strings.Repeat("a", 10+i%40)+".example")
	}
	_, address := serve(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P256(), Names: append(names, siteName)})
	_, err := lookAt(t.Context(), at(ca, address), siteName)
	u, ok := errors.AsType[*Unavailable](err)
	if !ok || !strings.Contains(u.Reason, "longer than 64 KiB") {
		t.Errorf("%v, want a reason that says that it is too long", err)
	}
}

func TestOneAddressIsDialledAFewTimesASecond(t *testing.T) {
	var mu sync.Mutex
	var dials []time.Time
	open, most := 0, 0
	synctest.Test(t, func(t *testing.T) {
		config := NetworkConfig{Resolver: resolver(t, publicAddress), Tries: 1}
		config.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			mu.Lock()
			dials = append(dials, time.Now())
			open++
			most = max(most, open)
			mu.Unlock()
			time.Sleep(500 * time.Millisecond)
			mu.Lock()
			open--
			mu.Unlock()
			return nil, errors.New("refused")
		}
		n := newNetwork(config)
		var looks sync.WaitGroup
		for range 60 {
			looks.Go(func() { n.look(t.Context(), siteName, ofDomain(siteName)) })
		}
		looks.Wait()
		if most > 2*maxVisits {
			t.Errorf("%d connections at once, want at most %d", most, 2*maxVisits)
		}
		for i := range dials {
			if j := i + dialBurst; j < len(dials) && dials[j].Sub(dials[i]) < dialInterval {
				t.Fatalf("%d connections within %s", dialBurst+1, dials[j].Sub(dials[i]))
			}
		}
		if n := len(dials); n < int(lookTimeout/dialInterval) || n > int(lookTimeout/dialInterval)+dialBurst {
			t.Errorf("%d connections in %s, want one each %s and a burst of %d", n, lookTimeout, dialInterval, dialBurst)
		}
		_, err := lookAt(t.Context(), config, siteName) // of another network, which has dialled nobody yet
		unavailable(t, err, siteName, "can't be reached")
		time.Sleep(time.Minute)
		n.limiter.mu.Lock()
		defer n.limiter.mu.Unlock()
		if len(n.limiter.dialled) != 0 {
			t.Errorf("%d addresses are still remembered", len(n.limiter.dialled))
		}
	})
}

func TestWhatCountsAsOneAddress(t *testing.T) {
	for address, want := range map[string]string{
		"1.2.3.4": "1.2.3.4/32", "::ffff:1.2.3.4": "1.2.3.4/32",
		"2a00:1:2:3:4:5:6:7": "2a00:1:2:3::/64", "64:ff9b::1.2.3.4": "64:ff9b::102:304/128",
	} {
		if got := limited(netip.MustParseAddr(address)); got.String() != want {
			t.Errorf("%s counts as %s, want %s", address, got, want)
		}
	}
}
