package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"countersign/testsite"
)

const siteName = "site.example"

// patience is a bound on waits that should end long before: a busy machine doesn't reach it.
const patience = time.Minute

// at is a configuration that finds siteName at address.
func at(ca *testsite.CA, address string) NetworkConfig {
	return NetworkConfig{
		Roots:   ca.Roots(),
		Hosts:   map[string]string{siteName: address},
		Timeout: patience,
		Backoff: time.Millisecond,
	}
}

func keyAt(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestNetworkGivesTheLeavesThatTheSiteServes(t *testing.T) {
	ca := newCA(t)
	for _, c := range []struct {
		name   string
		config testsite.SiteConfig
		want   []kind
	}{
		{"RSA alone", testsite.SiteConfig{Keys: []crypto.Signer{rsaKey()}}, []kind{kindRSA}},
		{"P-256 alone", testsite.SiteConfig{Curve: elliptic.P256()}, []kind{kindECDSA}},
		{"P-384 alone", testsite.SiteConfig{Curve: elliptic.P384()}, []kind{kindECDSA}},
		{"P-521 alone", testsite.SiteConfig{Curve: elliptic.P521()}, []kind{kindECDSA}},
		{"both, RSA comes first", testsite.SiteConfig{Keys: []crypto.Signer{keyAt(t, elliptic.P256()), rsaKey()}}, []kind{kindRSA, kindECDSA}},
		{"both, the site prefers RSA", testsite.SiteConfig{Keys: []crypto.Signer{rsaKey(), keyAt(t, elliptic.P256())}}, []kind{kindRSA, kindECDSA}},
		{"both over TLS 1.2 alone", testsite.SiteConfig{Keys: []crypto.Signer{keyAt(t, elliptic.P256()), rsaKey()}, MaxVersion: tls.VersionTLS12}, []kind{kindRSA, kindECDSA}},
		{"RSA over TLS 1.3 alone", testsite.SiteConfig{Keys: []crypto.Signer{rsaKey()}, MinVersion: tls.VersionTLS13}, []kind{kindRSA}},
		{"both over TLS 1.3 alone, one is shown", testsite.SiteConfig{Keys: []crypto.Signer{keyAt(t, elliptic.P256()), rsaKey()}, MinVersion: tls.VersionTLS13}, []kind{kindECDSA}},
	} {
		t.Run(c.name, func(t *testing.T) {
			site, address := serve(t, ca, siteName, c.config)
			chains, err := lookAt(t.Context(), at(ca, address), siteName)
			if err != nil {
				t.Fatal(err)
			}
			if len(chains) != len(c.want) {
				t.Fatalf("%d chains, want %d", len(chains), len(c.want))
			}
			for i, chain := range chains {
				checkServed(t, site, chain, c.want[i])
			}
		})
	}
}

// checkServed checks that chain's leaf is of kind want, that site serves it,
// and that the chain goes up to the root.
func checkServed(t *testing.T, site *testsite.Site, chain Chain, want kind) {
	t.Helper()
	leaf, err := chain.Leaf()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := leafKind(leaf); err != nil || got != want {
		t.Errorf("leaf of kind %d, %v; want %d", got, err, want)
	}
	if len(chain.Certificates) != 3 {
		t.Errorf("chain of %d certificates, want leaf, intermediate and root", len(chain.Certificates))
	}
	for _, served := range site.Chains() {
		if bytes.Equal(served[0], chain.Certificates[0]) {
			return
		}
	}
	t.Error("the leaf is none that the site serves")
}

func TestNetworkRefusesCertificatesThatDoNotHold(t *testing.T) {
	ca, stranger := newCA(t), newCA(t)
	now := time.Now()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	short, err := rsa.GenerateKey(rand.Reader, 1536)
	if err != nil {
		t.Fatal(err)
	}
	p256 := []crypto.Signer{keyAt(t, elliptic.P256())}
	for _, c := range []struct {
		name   string
		ca     *testsite.CA
		config testsite.SiteConfig
		why    string
	}{
		{"expired", ca, testsite.SiteConfig{Keys: p256, NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(-24 * time.Hour)}, "has expired on " + day(now.Add(-24*time.Hour))},
		{"not valid yet", ca, testsite.SiteConfig{Keys: p256, NotBefore: now.Add(time.Hour)}, "is not valid yet, but from " + day(now.Add(time.Hour))},
		{"other name", ca, testsite.SiteConfig{Keys: p256, Names: []string{"other.example"}}, "for other names"},
		{"untrusted root", stranger, testsite.SiteConfig{Keys: p256}, "authority that this service trusts"},
		{"self-signed", ca, testsite.SiteConfig{Keys: p256, SelfSigned: true}, "is self-signed, so that it doesn't lead to an authority that this service trusts"},
		{"intermediate missing", ca, testsite.SiteConfig{Keys: p256, LeafOnly: true}, "authority that this service trusts: it came alone"},
		{"expired, TLS 1.3 alone", ca, testsite.SiteConfig{Keys: p256, NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(-24 * time.Hour), MinVersion: tls.VersionTLS13}, "expired"},
		{"Ed25519", ca, testsite.SiteConfig{Keys: []crypto.Signer{ed}}, "has an Ed25519 key, of a kind or size that isn't accepted"},
		{"P-224", ca, testsite.SiteConfig{Keys: []crypto.Signer{keyAt(t, elliptic.P224())}}, "has an ECDSA key on P-224, of a kind or size that isn't accepted"},
		{"RSA of 1536 bits", ca, testsite.SiteConfig{Keys: []crypto.Signer{short}}, "has an RSA key of 1536 bits, of a kind or size that isn't accepted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, address := serve(t, c.ca, siteName, c.config)
			_, err := lookAt(t.Context(), at(ca, address), siteName)
			if u := unavailable(t, err, siteName, c.why); isTemporary(u.Err) {
				t.Error("the site would be asked again, although it answered")
			}
		})
	}
}

func TestNetworkJudgesValidityByItsClock(t *testing.T) {
	ca := newCA(t)
	_, address := serve(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P256()})
	config := at(ca, address)
	config.Clock = func() time.Time { return time.Now().Add(365 * 24 * time.Hour) }
	_, err := lookAt(t.Context(), config, siteName)
	unavailable(t, err, siteName, "expired")
}

func TestNetworkEndsWithWhateverAnswers(t *testing.T) {
	ca := newCA(t)
	closed := listen(t, func(net.Conn) {})
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused.Close()
	for _, c := range []struct {
		name, address, why string
		askedAgain         bool
	}{
		{"closes at once", closed, "closed during the TLS handshake", true},
		{"refuses connections", refused.Addr().String(), "refused", true},
		{"hangs", listen(t, func(c net.Conn) { io.Copy(io.Discard, c) }), timedOut, false},
		{"drips bytes of a record", listen(t, drip), timedOut, false},
		{"speaks HTTP", listen(t, say("HTTP/1.1 400 Bad Request\r\n\r\n")), "doesn't speak TLS but plain HTTP", false},
		{"sends zeros", listen(t, say(strings.Repeat("\x00", 1<<16))), "doesn't speak TLS", false},
		{"sends empty records for ever", listen(t, repeat("\x16\x03\x03\x00\x00")), "handshake", false},
		{"announces a message of 16 MiB", listen(t, repeat("\x16\x03\x03\x40\x00\x02\xff\xff\xff"+strings.Repeat("\x00", 1<<14-4))), "handshake", false},
		{"sends a nonsense hello", listen(t, say("\x16\x03\x03\x00\x08\x02\x00\x00\x04\xff\xff\xff\xff")), "handshake", false},
		{"refuses with an alert", listen(t, say("\x15\x03\x03\x00\x02\x02\x28")), "no kind of certificate or cipher suite in common", false},
		{"doesn't know the name", listen(t, say("\x15\x03\x03\x00\x02\x02\x70")), "doesn't know this name (unrecognized_name)", false},
		{"speaks another version", listen(t, say("\x15\x03\x03\x00\x02\x02\x46")), "speaks neither TLS 1.2 nor 1.3", false},
		{"demands a certificate at once", listen(t, say("\x15\x03\x03\x00\x02\x02\x74")), "wants to know its clients", false},
		{"fails itself", listen(t, say("\x15\x03\x03\x00\x02\x02\x50")), "an error of its own", false},
		{"chooses an old version", listen(t, say("\x16\x03\x01\x00\x2a\x02\x00\x00\x26\x03\x01"+strings.Repeat("\x00", 36))), "speaks a version of TLS before 1.2", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			config := at(ca, c.address)
			if c.why == timedOut { // only these may run out of time, however slow the machine is
				config.Timeout = 300 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			_, err := lookAt(ctx, config, siteName)
			u := unavailable(t, err, siteName, c.why)
			if isTemporary(u.Err) != c.askedAgain {
				t.Errorf("asked again: %t, want %t (%v)", !c.askedAgain, c.askedAgain, u)
			}
		})
	}
}

// timedOut is what the uploader reads of a site that used up 300 ms.
const timedOut = "within 0.3 s"

// drip sends one byte of a record after the other, until the client has gone.
func drip(c net.Conn) {
	for _, b := range []byte("\x16\x03\x03\x20\x00\x02" + strings.Repeat("\x00", 8000)) {
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// say reads the client's hello and answers with text, then waits for the end.
func say(text string) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := c.Read(make([]byte, 4096)); err != nil {
			return
		}
		io.WriteString(c, text)
		io.Copy(io.Discard, c)
	}
}

func repeat(text string) func(net.Conn) {
	return func(c net.Conn) {
		for {
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
		}
	}
}

func TestNetworkAsksAgainWhenConnectionsAreRefused(t *testing.T) {
	ca := newCA(t)
	_, address := serve(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P256()})
	for _, c := range []struct {
		name    string
		refused int64 // connections, two a try
		want    bool
	}{
		{"up after two tries", 4, true},
		{"down for all tries", 6, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var dials atomic.Int64
			config := NetworkConfig{Roots: ca.Roots(), Timeout: patience, Tries: 3, Backoff: time.Millisecond}
			config.Resolver = resolver(t, publicAddress)
			config.DialContext = func(ctx context.Context, network, wanted string) (net.Conn, error) {
				if network != "tcp" || wanted != publicAddress+":443" {
					t.Errorf("dialled %s %s, want the site's address on port 443", network, wanted)
				}
				if dials.Add(1) <= c.refused {
					return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
				}
				return new(net.Dialer).DialContext(ctx, network, address)
			}
			_, err := lookAt(t.Context(), config, siteName)
			if c.want {
				if err != nil {
					t.Error(err)
				}
				return
			}
			unavailable(t, err, siteName, "connections to port 443 are refused")
			if dials.Load() != 6 {
				t.Errorf("%d connections, want two in each of three tries", dials.Load())
			}
		})
	}
}

func TestNetworkAnswersForACallersContextOnly(t *testing.T) {
	ca := newCA(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	address := listen(t, func(c net.Conn) {
		cancel() // the caller leaves while the site is being asked
		io.Copy(io.Discard, c)
	})
	_, err := lookAt(ctx, at(ca, address), siteName)
	if u, ok := errors.AsType[*Unavailable](err); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v %v, want the context's and none about the site", err, u)
	}
}

func notNames() []string {
	return []string{
		"", ".", "..", "a..b", ".example", "example.", "../x", "a/b", `a\b`, "a b", "EXAMPLE.com", "exämple.com", "a_b.example",
		"-a.example", "a-.example", "127.0.0.1", "1.2.3", "::1", "[::1]", "example.com:443", "a\x00b", "a%2e", "*.example",
		strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 126) + "example",
	}
}

func TestParseHost(t *testing.T) {
	site, address, err := ParseHost("site.example=[::1]:8443")
	if err != nil || site != "site.example" || address != "[::1]:8443" {
		t.Errorf("%q %q %v", site, address, err)
	}
	for _, bad := range []string{"", "site.example", "site.example=", "site.example=host", "site.example=:1", "site.example=h:", "=h:1", "SITE=h:1", "1.2.3.4=h:1"} {
		if _, _, err := ParseHost(bad); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", bad)) {
			t.Errorf("%q: error %v, want one that quotes it", bad, err)
		}
	}
}
