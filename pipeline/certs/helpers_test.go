package certs

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"countersign/internal/hostname"
	"countersign/testsite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rsaKey is one RSA key for the tests that need any.
var rsaKey = sync.OnceValue(func() crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newCA(t *testing.T) *testsite.CA {
	t.Helper()
	ca, err := testsite.NewCA(testsite.CAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func newSite(t *testing.T, ca *testsite.CA, name string, config testsite.SiteConfig) *testsite.Site {
	t.Helper()
	site, err := ca.NewSite(name, config)
	if err != nil {
		t.Fatal(err)
	}
	return site
}

// serve serves a new site until the test ends.
func serve(t *testing.T, ca *testsite.CA, name string, config testsite.SiteConfig) (site *testsite.Site, address string) {
	t.Helper()
	site = newSite(t, ca, name, config)
	address, err := site.Serve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(site.Close)
	return site, address
}

// listen runs handler for each connection to the address, until the test ends.
// handler must return soon after its connection is closed.
func listen(t *testing.T, handler func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	handle(t, listener, handler)
	return listener.Addr().String()
}

// handle runs handler for each of the listener's connections, until the test ends.
func handle(t *testing.T, listener net.Listener, handler func(net.Conn)) {
	var mu sync.Mutex
	var conns []net.Conn
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			running.Go(func() {
				defer conn.Close()
				handler(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for _, conn := range conns {
			conn.Close()
		}
		mu.Unlock()
		running.Wait()
	})
}

// unavailable checks that err says that site's certificate can't be had, and
// why, in words that an uploader may see.
func unavailable(t *testing.T, err error, site, why string) *Unavailable {
	t.Helper()
	u, ok := errors.AsType[*Unavailable](err)
	if !ok {
		t.Fatalf("error %v (%T), want an *Unavailable", err, err)
	}
	if u.Site != site {
		t.Errorf("the error is about site %q, want %q", u.Site, site)
	}
	if !strings.Contains(u.Reason, why) || !strings.Contains(u.Reason, ";") {
		t.Errorf("reason %q, want one that has %q and a remedy", u.Reason, why)
	}
	if strings.Contains(u.Reason, "127.0.0.") && !strings.HasPrefix(site, "127.") {
		t.Errorf("reason %q shows an address", u.Reason)
	}
	return u
}

// publicAddress is an address that may be dialled. Nothing dials it.
const publicAddress = "93.184.216.34"

// lookAt asks a site over the network, as a look does.
func lookAt(ctx context.Context, config NetworkConfig, site string) ([]Chain, error) {
	found, _, err := newNetwork(config).look(ctx, site, ofDomain(site))
	return chainsOfFound(found), err
}

// ofDomain are the accounts of a look at a site of which nothing is known.
func ofDomain(site string) []account {
	return []account{{kind: accountDomain, name: hostname.Domain(site)}}
}

func chainsOfFound(all []found) (chains []Chain) {
	for _, f := range all {
		chains = append(chains, f.chain)
	}
	return chains
}

// fixedResolver gives the same addresses for every name.
type fixedResolver []netip.Addr

func (r fixedResolver) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return r, nil
}

func resolver(t *testing.T, addresses ...string) Resolver {
	t.Helper()
	var r fixedResolver
	for _, address := range addresses {
		r = append(r, netip.MustParseAddr(address))
	}
	return r
}

func newSites(t testing.TB, config Config) *Sites {
	t.Helper()
	sites, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sites.Close)
	return sites
}

// await is Await of siteName.
func await(t *testing.T, sites *Sites) Known {
	t.Helper()
	known, err := sites.Await(t.Context(), siteName, "")
	if err != nil {
		t.Fatal(err)
	}
	return known
}
