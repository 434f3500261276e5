package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

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

// listen runs handle for each connection to the address, until the test ends.
// handle must return soon after its connection is closed.
func listen(t *testing.T, handle func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
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
				handle(conn)
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
	return listener.Addr().String()
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

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
