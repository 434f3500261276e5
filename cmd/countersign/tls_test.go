package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countersign/internal/fdpass"
)

// writeFor writes a certificate for a name, and its key, to PREFIX.pem and PREFIX.key.
func (w *world) writeFor(name, prefix string) (cert tls.Certificate) {
	w.t.Helper()
	site, err := w.ca.NewSite(name, p256)
	must(w.t, err)
	dir := w.t.TempDir()
	must(w.t, site.WriteKeys(dir))
	var chain []byte
	for _, der := range site.Chains()[0] {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	must(w.t, os.WriteFile(prefix+".pem", chain, 0o600))
	key, err := os.ReadFile(filepath.Join(dir, name+".ecdsa.key"))
	must(w.t, err)
	must(w.t, os.WriteFile(prefix+".key", key, 0o600))
	cert, err = tls.X509KeyPair(chain, key)
	must(w.t, err)
	return cert
}

// demanding listens with TLS and takes only clients with a certificate of the world's authority. Its certificates are for
// servers, which is nothing to these tests.
func (w *world) demanding(handle func(*tls.Conn)) net.Listener {
	w.t.Helper()
	cert := w.writeFor("localhost", filepath.Join(w.t.TempDir(), "server"))
	l, err := tls.Listen("tcp", "localhost:0", &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert,
		VerifyConnection: func(s tls.ConnectionState) error {
			above := x509.NewCertPool()
			for _, c := range s.PeerCertificates[1:] {
				above.AddCert(c)
			}
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: w.ca.Roots(), Intermediates: above})
			return err
		},
	})
	must(w.t, err)
	w.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go handle(c.(*tls.Conn))
		}
	}()
	return l
}

// A client's certificate is that of the files as they are when a connection is made; files that are broken meanwhile
// leave the first one in use.
func TestClientCertificatesAreReadAgain(t *testing.T) {
	w := newWorld(t)
	met := make(chan string, 1)
	l := w.demanding(func(c *tls.Conn) {
		defer c.Close()
		if c.Handshake() == nil {
			met <- c.ConnectionState().PeerCertificates[0].DNSNames[0]
			_, _ = c.Write([]byte("x"))
		}
	})
	prefix := filepath.Join(t.TempDir(), "client")
	w.writeFor("first.example", prefix)
	var warnings []string
	config, err := tlsFiles{"--kafka", w.roots, prefix + ".pem", prefix + ".key"}.config(func(setting string, err error) {
		warnings = append(warnings, setting+": "+err.Error())
	})
	must(t, err)
	config.ServerName = "localhost"
	meet := func() string {
		c, err := tls.Dial("tcp", l.Addr().String(), config)
		must(t, err)
		defer c.Close()
		_, err = io.ReadFull(c, make([]byte, 1))
		must(t, err)
		return <-met
	}
	if name := meet(); name != "first.example" {
		t.Errorf("the server met %s", name)
	}
	w.writeFor("second.example", prefix)
	if name := meet(); name != "second.example" || len(warnings) > 0 {
		t.Errorf("after a renewal the server met %s; warnings %q", name, warnings)
	}
	must(t, os.WriteFile(prefix+".key", []byte("broken"), 0o600))
	if name := meet(); name != "first.example" || len(warnings) != 1 || !strings.Contains(warnings[0], "--kafka-cert") || !strings.Contains(warnings[0], "client.key") {
		t.Errorf("with a broken key the server met %s; warnings %q", name, warnings)
	}
	if _, err := (tlsFiles{"--kafka", w.roots, prefix + ".pem", prefix + ".key"}).config(nil); err == nil || !strings.Contains(err.Error(), "--kafka-cert and --kafka-key: ") {
		t.Errorf("at the start: %v", err)
	}
}

// A ClickHouse that demands client certificates is asked with one, and says why where there is none.
func TestClickHouseWithClientCertificates(t *testing.T) {
	t.Parallel()
	w, data := newWorld(t), t.TempDir()
	n := start(t, append(append(w.args(), logArgs(t)...), "--data-dir", data)...)
	defer n.stop()
	text, err := analystURL(data)
	must(t, err)
	u, err := url.Parse(text)
	must(t, err)
	socket := u.Query().Get("socket")
	if socket == "" {
		t.Skip("the engine shares the network here")
	}
	l := w.demanding(func(c *tls.Conn) {
		defer c.Close()
		to, err := fdpass.Dial(t.Context(), socket)
		if err != nil || c.Handshake() != nil {
			return
		}
		defer to.Close()
		go func() { _, _ = io.Copy(to, c); _ = to.CloseWrite() }()
		_, _ = io.Copy(c, to)
	})
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	u.Host, u.RawQuery = "localhost:"+port, "secure=true"
	prefix := filepath.Join(t.TempDir(), "client")
	w.writeFor("client.example", prefix)
	ask := []string{"query", "--clickhouse", u.String(), "--clickhouse-ca", w.roots}
	out, err := output(append(ask, "--clickhouse-cert", prefix+".pem", "--clickhouse-key", prefix+".key", "SELECT 7 AS n")...)
	if err != nil || strings.TrimSpace(out) != "n: 7" {
		t.Errorf("%v:\n%s", err, out)
	}
	if out, err := output(append(ask, "SELECT 7 AS n")...); err == nil || !strings.Contains(out, "certificate") {
		t.Errorf("without a certificate: %v:\n%s", err, out)
	}
	u.RawQuery = ""
	if out, err := output("query", "--clickhouse", u.String(), "--clickhouse-ca", w.roots, "SELECT 7"); err == nil || !strings.Contains(out, "secure=true") {
		t.Errorf("without secure=true: %v:\n%s", err, out)
	}
}
