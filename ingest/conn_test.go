package ingest

// Refusals reach clients that are busy sending; certificates change under way.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// refusals are ways to be refused while a long body is being sent. Each gets a fresh server.
var refusals = []struct {
	name   string
	site   string
	first  string // of the body
	config func(*Config)
	ready  func(*harness)
	status int
	kind   string
}{
	{name: "announced too large", site: site, first: "[", config: func(c *Config) { c.HTTP.MaxBody = 1 << 20 }, status: 413, kind: "body-too-large"},
	{name: "malformed", site: site, first: "[x", status: 400, kind: "malformed-body"},
	{name: "site", site: "192.0.2.1", first: "[", status: 400, kind: "invalid-site"},
	{name: "busy", site: site, first: "[", config: func(c *Config) { c.MaxUploads = 1 }, ready: func(h *harness) { h.uploads <- struct{}{} }, status: 503, kind: "busy"},
	{name: "log away", site: site, first: string(body(0, 3000, 64)[:400_000]), ready: func(h *harness) { h.log.with(func(l *fakeLog) { l.away = true }) },
		status: 503, kind: "log-unavailable"},
}

const longBody = 45 << 20

// TestRefusalReachesAClientThatOnlySends stands for Java's HttpURLConnection and Python's http.client, which read the reply after the
// last byte of the body.
func TestRefusalReachesAClientThatOnlySends(t *testing.T) {
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			h := start(t, c.config)
			if c.ready != nil {
				c.ready(h)
			}
			conn := dial(t, h)
			fmt.Fprintf(conn, "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", c.site, longBody, c.first)
			if _, err := io.CopyN(conn, zeros{}, longBody-int64(len(c.first))); err != nil {
				t.Fatalf("sending the rest: %v", err)
			}
			r := readReply(t, conn)
			if h.problem(r, c.status, c.kind); !r.closed {
				t.Error("the connection is said to stay open")
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestRefusalReachesCurl runs the real thing: it is the client of the contract's pages.
func TestRefusalReachesCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Fatal("install curl: the API's published examples are curl commands, and this checks them")
	}
	for _, c := range refusals {
		for _, expect := range []string{"", "Expect:", "Transfer-Encoding: chunked"} {
			if strings.HasPrefix(expect, "Transfer") && c.kind == "body-too-large" {
				continue // nothing is announced
			}
			t.Run(c.name+" "+expect, func(t *testing.T) {
				h := start(t, c.config)
				if c.ready != nil {
					c.ready(h)
				}
				file := filepath.Join(t.TempDir(), "body")
				if err := os.WriteFile(file, append([]byte(c.first), make([]byte, longBody-len(c.first))...), 0o600); err != nil {
					t.Fatal(err)
				}
				args := []string{"-sS", "--max-time", "20", "-w", "\n%{http_code}", "--data-binary", "@" + file, h.url + "/api/v1/asyncsign/" + c.site}
				if expect != "" {
					args = append([]string{"-H", expect}, args...)
				}
				out, err := exec.CommandContext(t.Context(), curl, args...).CombinedOutput()
				if err != nil || !strings.HasSuffix(string(out), fmt.Sprintf("\n%d", c.status)) || !strings.Contains(string(out), c.kind) {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
	}
}

func TestLingeringIsBounded(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"time":  func(c *Config) { c.HTTP.LingerTimeout, c.HTTP.LingerBytes = 200*time.Millisecond, 1<<50 },
		"bytes": func(c *Config) { c.HTTP.LingerBytes = 1 << 20 },
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, change)
			conn := dial(t, h)
			fmt.Fprintf(conn, "POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
			started := time.Now()
			n, err := io.Copy(conn, io.LimitReader(zeros{}, 1<<40))
			if err == nil || time.Since(started) > 5*time.Second {
				t.Errorf("sent %d bytes in %s: %v", n, time.Since(started), err)
			}
		})
	}
}

// authority makes certificates for 127.0.0.1.
func writePair(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, certFile, "CERTIFICATE", der)
	writePEM(t, keyFile, "EC PRIVATE KEY", keyDER)
	return certFile, keyFile
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestHTTPS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := writePair(t, dir, "first")
	h := start(t, func(c *Config) { c.HTTP.TLSCert, c.HTTP.TLSKey = certFile, keyFile })
	// The name of the certificate that a new connection meets.
	meet := func() string {
		c, err := tls.Dial("tcp", h.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if p := c.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
			t.Errorf("protocol %q", p)
		}
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	look := func() {
		h.Server.http.keys.mu.Lock()
		defer h.Server.http.keys.mu.Unlock()
		h.Server.http.keys.checked = time.Time{}
	}
	h.url = "https://" + h.addr
	h.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	if s := h.done(h.upload(site, body(0, 2500, 64))); s["okHash"] != 2500 {
		t.Error(s)
	}
	if meet() != "first" {
		t.Error("not the certificate it was given")
	}
	if err := os.WriteFile(keyFile, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if look(); meet() != "first" {
		t.Error("a broken pair took the good one's place")
	}
	if writePair(t, dir, "second"); meet() != "first" {
		t.Error("looked at the files more than once a second")
	}
	if look(); meet() != "second" {
		t.Error("the new certificate isn't served")
	}

	conn, err := tls.Dial("tcp", h.addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/v1/asyncsign/192.0.2.1 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 8<<20)
	if _, err := io.CopyN(conn, zeros{}, 8<<20); err != nil {
		t.Fatalf("sending a refused body: %v", err)
	}
	h.problem(readReply(t, conn), 400, "invalid-site")
}

func TestConfigurationIsCheckedWhole(t *testing.T) {
	_, err := New(Config{HTTP: HTTPConfig{TLSCert: "x", MaxBody: -1}, MaxPairs: 1 << 40})
	for _, part := range []string{"Log and Store", "partitions", "--tls-key", "--max-body", "--max-pairs"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
	log := newFakeLog(t)
	cfg := testConfig(log, &fakeClock{})
	cfg.HTTP.TLSCert, cfg.HTTP.TLSKey = "/nowhere/cert.pem", "/nowhere/key.pem"
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "/nowhere/cert.pem") {
		t.Error(err)
	}
}
