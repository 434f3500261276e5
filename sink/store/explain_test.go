package store

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"countersign/internal/speaks/speakstest"
)

// selfSigned is a server's configuration that no client trusts.
func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func TestExplainSaysWhatWasFound(t *testing.T) {
	const http, native = "HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.0 400 Bad Request\r\n\r\nPort 9000 is for clickhouse-client program\r\n"
	secure := selfSigned(t)
	demanding := secure.Clone()
	demanding.ClientAuth = tls.RequireAnyClientCert
	for _, c := range []struct {
		name, address, parameters string
		want                      []string
		sure                      bool
	}{
		{"web server", speakstest.Listen(t, nil, http), "", []string{"found a web server (HTTP)", "usually 9000, and not 8123"}, true},
		{"TLS", speakstest.Listen(t, secure, native), "", []string{"found a listener that speaks TLS", "add secure=true"}, true},
		{"no TLS", speakstest.Listen(t, nil, native), "?secure=true", []string{"found that protocol without TLS", "leave secure=true out"}, true},
		{"web server over TLS", speakstest.Listen(t, secure, http), "?secure=true&skip_verify=true", []string{"found a web server (HTTPS)", "usually 9440, and not 8443"}, true},
		{"unknown authority", speakstest.Listen(t, secure, native), "?secure=true", []string{"certificate leads to no authority"}, true},
		{"other name", strings.Replace(speakstest.Listen(t, secure, native), "127.0.0.1", "localhost", 1), "?secure=true", []string{"certificate is for other names"}, true},
		{"a client certificate demanded", speakstest.Listen(t, demanding, native), "?secure=true&skip_verify=true", []string{"demands a certificate of its clients"}, true},
		{"closes", speakstest.Listen(t, nil, ""), "", []string{"accepts connections and closes them"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := open(t, Config{URL: "clickhouse://" + c.address + c.parameters})
			err := db.Migrate(t.Context())
			if err == nil {
				t.Fatal("migrated")
			}
			explained, sure := db.Explain(t.Context(), err)
			if sure != c.sure || !errors.Is(explained, err) {
				t.Errorf("sure %t, want %t: %v", sure, c.sure, explained)
			}
			for _, want := range c.want {
				if !strings.Contains(explained.Error(), want) {
					t.Errorf("%q lacks %q", explained, want)
				}
			}
		})
	}
	t.Run("one address of two is away", func(t *testing.T) {
		closed, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		closed.Close()
		db := open(t, Config{URL: "clickhouse://" + speakstest.Listen(t, nil, http) + "," + closed.Addr().String()})
		explained, sure := db.Explain(t.Context(), context.DeadlineExceeded)
		if sure || !strings.Contains(explained.Error(), closed.Addr().String()+": check that ClickHouse runs there") {
			t.Errorf("sure %t of %v, though one address may come back", sure, explained)
		}
	})
	t.Run("ClickHouse is there", func(t *testing.T) {
		refusal := errors.New("no such column")
		for _, db := range []*DB{open(t, Config{URL: "clickhouse://" + speakstest.Listen(t, nil, native)}), open(t, Config{URL: server})} {
			if explained, sure := db.Explain(t.Context(), refusal); sure || explained != refusal { //nolint:errorlint // the same
				t.Errorf("%v", explained)
			}
		}
	})
}

// A call that is given up during the driver's first exchange ends then, and not when the server's silence is noticed.
func TestFirstExchangesEndWithTheirContext(t *testing.T) {
	silent := silentServer(t)
	db := open(t, Config{URL: "clickhouse://" + silent})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	began := time.Now()
	if err := db.Migrate(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if took := time.Since(began); took >= readSilence {
		t.Errorf("it took %s", took)
	}
}
