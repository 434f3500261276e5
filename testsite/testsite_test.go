package testsite

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const name = "site.example"

func newSite(t *testing.T, config SiteConfig) (*CA, *Site) {
	t.Helper()
	ca, err := NewCA(CAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	site, err := ca.NewSite(name, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(site.Close)
	return ca, site
}

func serve(t *testing.T, site *Site) string {
	t.Helper()
	address, err := site.Serve()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// leaf is the leaf certificate that a client is shown that trusts ca.
func leaf(t *testing.T, ca *CA, address string, suites ...uint16) *x509.Certificate {
	t.Helper()
	config := &tls.Config{ServerName: name, RootCAs: ca.Roots()}
	if suites != nil {
		config.CipherSuites, config.MaxVersion = suites, tls.VersionTLS12
	}
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The server hangs up once it has counted the handshake.
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	io.Copy(io.Discard, conn)
	return conn.ConnectionState().PeerCertificates[0]
}

func TestSiteServesWhatTheClientOffers(t *testing.T) {
	ca, site := newSite(t, SiteConfig{RSABits: 2048, Curve: elliptic.P256()})
	address := serve(t, site)
	if !strings.HasPrefix(address, "127.0.0.1:") {
		t.Errorf("it listens on %s", address)
	}
	if got := leaf(t, ca, address, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256); !site.RSAKey().PublicKey.Equal(got.PublicKey) {
		t.Errorf("for RSA it serves a %T", got.PublicKey)
	}
	if got := leaf(t, ca, address, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256); !site.ECDSAKey().PublicKey.Equal(got.PublicKey) {
		t.Errorf("for ECDSA it serves a %T", got.PublicKey)
	}
	if got := leaf(t, ca, address); !site.ECDSAKey().PublicKey.Equal(got.PublicKey) {
		t.Errorf("for both it serves a %T, want ECDSA", got.PublicKey)
	}
	if site.Handshakes() != 3 {
		t.Errorf("%d handshakes, want 3", site.Handshakes())
	}
}

func TestSiteRotatesGoesAwayAndComesBack(t *testing.T) {
	ca, site := newSite(t, SiteConfig{Curve: elliptic.P256()})
	address := serve(t, site)
	before := leaf(t, ca, address)
	if err := site.Rotate(SiteConfig{}); err == nil {
		t.Error("rotating to no key is accepted")
	}
	if err := site.Rotate(SiteConfig{Curve: elliptic.P384()}); err != nil {
		t.Fatal(err)
	}
	after := leaf(t, ca, address)
	if after.Equal(before) || !site.ECDSAKey().PublicKey.Equal(after.PublicKey) {
		t.Error("the rotated key isn't served")
	}
	if _, err := site.Serve(); err == nil {
		t.Error("a site can be served twice")
	}
	site.Close()
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("a closed site answers")
	}
	if site.Connections() != 2 {
		t.Errorf("%d connections, want 2", site.Connections())
	}
	if again := serve(t, site); again != address {
		t.Errorf("it came back on %s, was on %s", again, address)
	}
	leaf(t, ca, address)
	if site.Handshakes() != 3 {
		t.Errorf("%d handshakes over its life, want 3", site.Handshakes())
	}
}

// If Close waited for the client, it would wait for a day.
func TestCloseDoesNotWaitForClients(t *testing.T) {
	_, site := newSite(t, SiteConfig{Curve: elliptic.P256()})
	site.handshakeTimeout = 24 * time.Hour
	conn, err := net.Dial("tcp", serve(t, site))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		site.Close()
	}()
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Fatal("Close waits for a client that says nothing")
	}
}

func TestSignaturesAreOfTheHexText(t *testing.T) {
	_, site := newSite(t, SiteConfig{RSABits: 2048, Curve: elliptic.P256()})
	hash := sha256.Sum256([]byte("a file"))
	for _, upper := range []bool{false, true} {
		text := HexText(hash, upper)
		if len(text) != 64 || (text == strings.ToUpper(text)) != upper {
			t.Errorf("hex text %q, upper %t", text, upper)
		}
		digest := sha256.Sum256([]byte(text))
		if err := rsa.VerifyPKCS1v15(&site.RSAKey().PublicKey, crypto.SHA256, digest[:], site.SignRSA(hash, upper)); err != nil {
			t.Errorf("RSA, upper %t: %v", upper, err)
		}
		if !ecdsa.VerifyASN1(&site.ECDSAKey().PublicKey, digest[:], site.SignECDSA(hash, upper)) {
			t.Errorf("ECDSA, upper %t: not valid", upper)
		}
	}
}

func TestFilesHoldKeysAndChains(t *testing.T) {
	ca, site := newSite(t, SiteConfig{RSABits: 2048, Curve: elliptic.P256()})
	dir := t.TempDir()
	if err := site.WriteKeys(dir); err != nil {
		t.Fatal(err)
	}
	for file, key := range map[string]interface{ Equal(crypto.PrivateKey) bool }{
		name + ".rsa.key": site.RSAKey(), name + ".ecdsa.key": site.ECDSAKey(),
	} {
		blocks := readPEM(t, filepath.Join(dir, file))
		if parsed, err := x509.ParsePKCS8PrivateKey(blocks[0]); err != nil || !key.Equal(parsed) {
			t.Errorf("%s doesn't hold the key: %v", file, err)
		}
	}
	path, err := site.WriteChain(dir)
	if err != nil {
		t.Fatal(err)
	}
	if path != filepath.Join(dir, name+".pem") || len(readPEM(t, path)) != 4 {
		t.Errorf("%s doesn't hold two chains of two", path)
	}
	roots := filepath.Join(dir, "roots.pem")
	if err := ca.WriteRoots(roots); err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(readPEM(t, roots)[0])
	if err != nil || !root.IsCA || root.CheckSignatureFrom(root) != nil {
		t.Errorf("the roots' file holds no root: %v", err)
	}
}

func readPEM(t *testing.T, path string) (ders [][]byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return ders
		}
		ders = append(ders, block.Bytes)
	}
}

func TestSigningWithoutAKeyIsAMistake(t *testing.T) {
	_, site := newSite(t, SiteConfig{Curve: elliptic.P256()})
	defer func() {
		if p, _ := recover().(string); !strings.Contains(p, name) {
			t.Errorf("panic %q, want one that names the site", p)
		}
	}()
	site.SignRSA([32]byte{}, false)
}
