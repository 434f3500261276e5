package server

// Refusals reach clients that are busy sending; certificates change under way.

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countersign/ingest/internal/ingesttest"
)

// refusals are ways to be refused while a long body is being sent. Each gets a fresh server.
var refusals = []struct {
	name   string
	path   string
	config func(*Config)
	ready  func(*harness)
	status int
	kind   string
}{
	{
		name: "announced too large", path: "/bodies/a", config: func(c *Config) { c.MaxBody = 1 << 20 },
		status: 413, kind: "body-too-large",
	},
	{name: "while it is read", path: "/bodies/impatient", status: 400, kind: "malformed-body"},
	{name: "by the path", path: "/bodies/refused", status: 400, kind: "invalid-parameter"},
	{
		name: "busy", path: "/bodies/a", ready: func(h *harness) { h.places <- struct{}{}; h.places <- struct{}{} },
		status: 503, kind: "busy",
	},
}

// longBody is more than the buffers on the way and LingerBytes take together.
const longBody = 80 << 20

// TestRefusalReachesAClientThatOnlySends stands for Java's HttpURLConnection and Python's http.client, which read the
// reply after the last byte of the body.
func TestRefusalReachesAClientThatOnlySends(t *testing.T) {
	certFile, keyFile := writePair(t, t.TempDir(), "x")
	for _, c := range refusals {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, TLS %v", c.name, secure), func(t *testing.T) {
				h := start(t, func(cfg *Config) {
					if c.config != nil {
						c.config(cfg)
					}
					if secure {
						cfg.TLSCert, cfg.TLSKey = certFile, keyFile
					}
				})
				if c.ready != nil {
					c.ready(h)
				}
				conn := h.Dial()
				if secure {
					conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
				}
				fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n[", c.path, longBody)
				if _, err := io.CopyN(conn, ingesttest.Zeros{}, longBody-1); err != nil {
					t.Fatalf("sending the rest: %v", err)
				}
				buffered := bufio.NewReader(conn)
				r := ingesttest.ReadReply(t, buffered)
				if h.Problem(r, c.status, c.kind); !r.Closed {
					t.Error("the connection is said to stay open")
				}
				// With TLS, anything but close_notify would be io.ErrUnexpectedEOF.
				if _, err := buffered.ReadByte(); !errors.Is(err, io.EOF) {
					t.Errorf("after the reply: %v", err)
				}
			})
		}
	}
}

// TestRefusalReachesCurl runs the real thing: the API's published examples are curl commands.
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
				if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, longBody)); err != nil {
					t.Fatal(err)
				}
				args := []string{"-sS", "-w", "\n%{http_code}", "--data-binary", "@" + file, h.URL + c.path}
				if expect != "" {
					args = append([]string{"-H", expect}, args...)
				}
				out, err := exec.CommandContext(t.Context(), curl, args...).CombinedOutput()
				refused := strings.HasSuffix(string(out), fmt.Sprintf("\n%d", c.status)) && strings.Contains(string(out), c.kind)
				if err != nil || !refused {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
	}
}

func TestLingeringIsBounded(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"time": func(c *Config) {
			c.LingerTimeout, c.BodyTimeout, c.MaxBody = 200*time.Millisecond, 200*time.Millisecond, 1<<50
		},
		"bytes": func(c *Config) { c.MaxBody = 1 << 20 },
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, change)
			conn := h.Dial()
			fmt.Fprintf(conn, "POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
			// The server closes, or the connection's deadline ends the test.
			if n, err := io.Copy(conn, ingesttest.Zeros{}); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("sent %d bytes: %v", n, err)
			}
		})
	}
}

// The bounds of lingering follow the body that was announced.
func TestLingerBounds(t *testing.T) {
	l := lingering{timeout: 10 * time.Second, bytes: 64 << 20, longest: 10 * time.Minute}
	for _, c := range []struct {
		announced, atLeast, atMost int64
		within                     time.Duration
	}{
		{0, 64 << 20, 64 << 20, 10 * time.Second},
		{100, 100, 1 << 20, 10 * time.Second},
		{1 << 20, 1 << 20, 2 << 20, 74 * time.Second},
		{400 << 20, 400 << 20, 500 << 20, 10 * time.Minute},
		{math.MaxInt64, 1 << 60, math.MaxInt64, 10 * time.Minute},
	} {
		bytes, within := l.bounds(c.announced)
		if bytes < c.atLeast || bytes > c.atMost || within != c.within {
			t.Errorf("announced %d: %d bytes within %v, want %d to %d within %v",
				c.announced, bytes, within, c.atLeast, c.atMost, c.within)
		}
	}
}

// A client may pause longer than LingerTimeout while it owes the rest of its body.
func TestRefusalReachesAClientThatPauses(t *testing.T) {
	h := start(t, func(c *Config) { c.LingerTimeout, c.StallTimeout = 50*time.Millisecond, time.Minute })
	conn := h.Dial()
	const rest = 8 << 20 // more than the receiver's buffer holds
	fmt.Fprintf(conn, "POST /bodies/refused HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n[", rest)
	time.Sleep(200 * time.Millisecond)
	if _, err := io.CopyN(conn, ingesttest.Zeros{}, rest-1); err != nil {
		t.Fatalf("sending after a pause: %v", err)
	}
	h.Problem(ingesttest.ReadReply(t, conn), 400, "invalid-parameter")
}

// A server that stops soon closes on those who are still sending a refused body.
func TestStopEndsLingering(t *testing.T) {
	h := start(t, func(c *Config) { c.DrainTimeout, c.StallTimeout = 50*time.Millisecond, time.Hour })
	conn := h.Dial()
	fmt.Fprintf(conn, "POST /bodies/refused HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n[", 1<<50)
	h.Problem(ingesttest.ReadReply(t, conn), 400, "invalid-parameter")
	ctx, cancel := context.WithTimeout(t.Context(), ingesttest.MaxWait)
	defer cancel()
	if err := h.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(conn, ingesttest.Zeros{}); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

// writePair makes a certificate for 127.0.0.1.
func writePair(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
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
	h := start(t, func(c *Config) { c.TLSCert, c.TLSKey = certFile, keyFile })
	// The name of the certificate that a new connection meets.
	meet := func() string {
		c, err := tls.Dial("tcp", h.Addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
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
		h.keys.mu.Lock()
		defer h.keys.mu.Unlock()
		h.keys.checked = time.Time{}
	}
	h.URL = "https://" + h.Addr
	h.HTTP.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	if r := h.Do("POST", "/bodies/a", ingesttest.Pairs(0, 2500, 64)); r.Status != 200 {
		t.Error(r)
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
	writePair(t, dir, "third")
	if err := h.ReloadCertificate(); err != nil || meet() != "third" {
		t.Errorf("the new certificate isn't served though a reload was asked for: %v", err)
	}
	if err := os.WriteFile(certFile, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.ReloadCertificate(); err == nil || meet() != "third" {
		t.Errorf("a reload of a broken pair: %v", err)
	}

	conn, err := tls.Dial("tcp", h.Addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /bodies/refused HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 8<<20)
	if _, err := io.CopyN(conn, ingesttest.Zeros{}, 8<<20); err != nil {
		t.Fatalf("sending a refused body: %v", err)
	}
	h.Problem(ingesttest.ReadReply(t, conn), 400, "invalid-parameter")
}

func TestConfigurationIsCheckedWhole(t *testing.T) {
	_, err := New(Config{TLSCert: "x", MaxBody: -1, StallTimeout: -1}, nil)
	for _, part := range []string{"--tls-key", "--max-body", "time-out"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
	_, err = New(Config{TLSCert: "/nowhere/cert.pem", TLSKey: "/nowhere/key.pem"}, nil)
	if err == nil || !strings.Contains(err.Error(), "/nowhere/cert.pem") {
		t.Error(err)
	}
}
