package certs

// Floods of names that lead to one address. Time is synctest's, and connections are pipes, so every wait is exact.

import (
	"context"
	"crypto/elliptic"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/testsite"
)

// sharedHost is the address of a hosting company: many names lead to it. It shows the certificates of its customers.
// Any other name gets one that is for other names, or no answer at all.
type sharedHost struct {
	t         *testing.T
	ca        *testsite.CA
	hangs     bool // for names that are no customers'
	closing   chan struct{}
	resolve   func(site string) []string
	mu        sync.Mutex
	customers map[string]*tls.Certificate // guarded by mu; nil: it hangs
	open      int                         // connections; guarded by mu
	most      int                         // that were open at once; guarded by mu
	dials     []time.Time                 // guarded by mu
}

func newSharedHost(t *testing.T, hangs bool) *sharedHost {
	h := &sharedHost{t: t, ca: newCA(t), hangs: hangs, closing: make(chan struct{})}
	h.customers = make(map[string]*tls.Certificate)
	h.resolve = func(string) []string { return []string{publicAddress} }
	h.host("default.example")
	t.Cleanup(func() { close(h.closing) })
	return h
}

// host gives a site a certificate.
func (h *sharedHost) host(site string) {
	s := newSite(h.t, h.ca, site, testsite.SiteConfig{Curve: elliptic.P256()})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.customers[site] = &tls.Certificate{Certificate: s.Chains()[0], PrivateKey: s.ECDSAKey()}
}

func (h *sharedHost) LookupNetIP(_ context.Context, _, host string) (addresses []netip.Addr, err error) {
	for _, text := range h.resolve(strings.TrimSuffix(host, ".")) {
		addresses = append(addresses, netip.MustParseAddr(text))
	}
	return addresses, nil
}

func (h *sharedHost) dial(context.Context, string, string) (net.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open++
	h.most = max(h.most, h.open)
	h.dials = append(h.dials, time.Now())
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		tls.Server(far, &tls.Config{GetCertificate: h.certificate}).Handshake()
	}()
	return &countedConn{Conn: near, closed: sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.open--
	})}, nil
}

func (h *sharedHost) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	h.mu.Lock()
	certificate, is := h.customers[hello.ServerName]
	if !is && !h.hangs {
		certificate = h.customers["default.example"]
	}
	h.mu.Unlock()
	if certificate == nil {
		<-h.closing
		return nil, errors.New("closing")
	}
	return certificate, nil
}

type countedConn struct {
	net.Conn
	closed func()
}

func (c *countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

// sites are those that find every name at the host.
func (h *sharedHost) sites(registry prometheus.Registerer) *Sites {
	return newSites(h.t, Config{Registerer: registry, Network: NetworkConfig{
		Roots: h.ca.Roots(), Resolver: h, DialContext: h.dial, Tries: 1,
	}})
}

// flood asks for sites, each client for as many as it may have looks at once, until the test ends. The returned
// function waits for the answers.
func flood(t *testing.T, sites *Sites, clients, eachAsksFor int, site func(client, i int) string) (wait func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for client := range clients {
		for i := range eachAsksFor {
			callers.Go(func() {
				for ctx.Err() == nil {
					sites.Look(ctx, site(client, i), fmt.Sprint("flooder ", client), time.Now())
				}
			})
		}
	}
	synctest.Wait()
	return func() {
		cancel()
		callers.Wait()
	}
}

// honestLook is a look at site for an honest client, and how long it took.
func honestLook(t *testing.T, sites *Sites, site string) time.Duration {
	t.Helper()
	began := time.Now()
	known, err := sites.Look(t.Context(), site, "honest", began)
	if err != nil || len(known.Leaves) != 1 {
		t.Fatalf("%s: %d leaves after %s, %v", site, len(known.Leaves), time.Since(began), err)
	}
	return time.Since(began)
}

// Two hundred and fifty-five made-up names of as many domains, for as many clients, lead to the address of a site that
// is known. Looks at the site don't wait for them, whether the address answers the made-up names or hangs.
func TestMadeUpNamesTakeNothingFromASiteThatIsKnown(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		t.Run(fmt.Sprintf("hangs %t", hangs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newSharedHost(t, hangs)
				sites := h.sites(nil)
				defer sites.Close()
				h.host("shop.example")
				honestLook(t, sites, "shop.example")
				wait := flood(t, sites, maxRunning-1, 1, func(client, _ int) string { return fmt.Sprintf("s%d.example", client) })
				defer wait()
				for range 20 {
					time.Sleep(Interval)
					if took := honestLook(t, sites, "shop.example"); took != 0 {
						t.Fatalf("a look took %s", took)
					}
				}
			})
		})
	}
}

// How long a look waits for its visit where others of its sort come first: the visits of one client, or of one domain,
// count as one. docs/isolation.md says these numbers.
func boundOfVisits(others int, hang bool) time.Duration {
	if hang {
		return time.Duration((others+maxVisits)/maxVisits) * maxVisit
	}
	return time.Duration(others+1) * visitConnections * dialInterval
}

func TestALookWaitsForOneVisitOfEachOtherClientOrDomain(t *testing.T) {
	perName := func(client, i int) string { return fmt.Sprintf("s%d-%d.example", client, i) }
	perClient := func(client, i int) string { return fmt.Sprintf("s%d.flood%d.example", i, client) }
	oneDomain := func(client, i int) string { return fmt.Sprintf("s%d.flood%d.example", client, i) }
	for _, c := range []struct {
		name                 string
		hangs, known         bool
		clients, eachAsksFor int
		site                 func(client, i int) string
		others               int // clients or domains of the flood, whichever are fewer
	}{
		{"12 clients with 8 domains each", false, false, 12, 8, perName, 12},
		{"12 clients with a domain each", false, false, 12, 8, perClient, 12},
		{"8 domains of 30 clients", false, false, 30, 8, oneDomain, 8},
		{"6 clients, which hang", true, false, 6, 8, perName, 6},
		{"6 clients with known names", false, true, 6, 8, perName, 6},
		{"6 clients with known names, which hang now", true, true, 6, 8, perName, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newSharedHost(t, c.hangs)
				registry := prometheus.NewRegistry()
				sites := h.sites(registry)
				defer sites.Close()
				h.host("shop.test")
				if c.known {
					honestLook(t, sites, "shop.test")
					for client := range c.clients {
						for i := range c.eachAsksFor {
							h.host(c.site(client, i))
							honestLook(t, sites, c.site(client, i))
							time.Sleep(Interval)
							if c.hangs {
								h.mu.Lock()
								h.customers[c.site(client, i)] = nil
								h.mu.Unlock()
							}
						}
					}
				}
				wait := flood(t, sites, c.clients, c.eachAsksFor, c.site)
				defer wait()
				time.Sleep(time.Second + time.Millisecond)
				bound := boundOfVisits(c.others, c.hangs)
				for i := range 3 {
					site := "shop.test"
					if !c.known {
						site = fmt.Sprintf("shop%d.test", i) // one that nobody has looked at before
						h.host(site)
					}
					took := honestLook(t, sites, site)
					t.Logf("%s, at most %s", took, bound)
					if took > bound {
						t.Errorf("a look took %s, want at most %s", took, bound)
					}
					time.Sleep(Interval)
				}
				if c.hangs && !c.known { // a site that takes long itself learns that it had to give way
					_, err := sites.Look(t.Context(), "slow.test", "slow", time.Now())
					if u := unavailable(t, err, "slow.test", "too many sites at its address"); !errors.Is(u, errGaveWay) {
						t.Errorf("%v, want that it gave way", u)
					}
				}
				if waiting := gauge(t, registry, "countersign_certs_visits_waiting"); waiting == 0 {
					t.Error("no visit waits: this is no flood")
				}
			})
		})
	}
}

// The bounds of an address hold whatever comes, and nothing is kept of what has gone.
func TestVisitsToAnAddressAreBounded(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := newSharedHost(t, hangs)
			sites := h.sites(nil)
			defer sites.Close()
			wait := flood(t, sites, 100, 2, func(client, i int) string { return fmt.Sprintf("s%d-%d.example", client, i) })
			for range 60 {
				time.Sleep(time.Second)
				sites.network.limiter.mu.Lock()
				for _, d := range sites.network.limiter.dialled {
					if n := d.turns.Len(); n != d.waiting+d.gaveUp || d.gaveUp > d.waiting+maxGaveUp {
						t.Errorf("%d visits in the turns, of which %d wait and %d gave up", n, d.waiting, d.gaveUp)
					}
				}
				sites.network.limiter.mu.Unlock()
			}
			wait()
			time.Sleep(time.Minute)
			synctest.Wait()
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.open != 0 || h.most > 2*maxVisits {
				t.Errorf("%d connections are open, and %d were at once, want at most %d", h.open, h.most, 2*maxVisits)
			}
			for i := range h.dials {
				if j := i + dialBurst + 8; j < len(h.dials) && h.dials[j].Sub(h.dials[i]) < 8*dialInterval {
					t.Fatalf("%d connections within %s", dialBurst+9, h.dials[j].Sub(h.dials[i]))
				}
			}
			t.Logf("%d connections in a minute", len(h.dials))
			if len(sites.network.limiter.dialled) != 0 || sites.network.limiter.waiting() != 0 {
				t.Errorf("%d addresses are still remembered", len(sites.network.limiter.dialled))
			}
		})
	}
}

// A look that could not ask all addresses of a site says nothing of signatures that fail under what it found. It says
// that they should be sent again. What it found counts all the same.
func TestALookWithoutATurnAtOneAddressCallsNothingBad(t *testing.T) {
	const crowded = "93.184.216.35"
	synctest.Test(t, func(t *testing.T) {
		h := newSharedHost(t, false)
		sites := h.sites(nil)
		defer sites.Close()
		h.host("shop.test")
		h.resolve = func(site string) []string {
			if site == "shop.test" {
				return []string{publicAddress, crowded}
			}
			return []string{crowded}
		}
		wait := flood(t, sites, 200, 1, func(client, _ int) string { return fmt.Sprintf("s%d.example", client) })
		time.Sleep(time.Second)
		began := time.Now()
		known, err := sites.Look(t.Context(), "shop.test", "honest", began)
		u := unavailable(t, err, "shop.test", "too many sites at its address")
		if !errors.Is(u, ErrNoTurn) || len(known.Leaves) != 1 || known.Looked.After(began) {
			t.Errorf("%v with %d leaves, looked at %s", u, len(known.Leaves), known.Looked)
		}
		if took := time.Since(began); took > settleTime+turnTime {
			t.Errorf("it took %s, want at most %s", took, settleTime+turnTime)
		}
		if known, err := sites.Await(t.Context(), "shop.test", "honest"); err != nil || len(known.Leaves) != 1 {
			t.Errorf("what was found is not known: %d leaves, %v", len(known.Leaves), err)
		}
		// Now it is a name that is known, which doesn't wait for the others.
		time.Sleep(Interval)
		if took := honestLook(t, sites, "shop.test"); took != 0 {
			t.Errorf("the next look took %s", took)
		}
		wait()
	})
}
