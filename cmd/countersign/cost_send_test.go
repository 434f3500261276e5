package main

// How the requests whose cost is measured are made and sent.

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"countersign/client"
)

// bulk is one upload.
func (m *meter) bulk(name, site string, entries func(round int) []entry) kind {
	return kind{name, 1, func(round int) func() {
		text := body(entries(round))
		return func() { m.request(http.MethodPost, asyncCall+site, text, nil, http.StatusOK) }
	}}
}

// many is so many requests, of which some run at once. Those without a body are a GET.
func (m *meter) many(name string, requests, atOnce, status int, request func(round, i int) (path string, body []byte)) kind {
	return kind{name, requests, func(round int) func() {
		var paths []string
		var bodies [][]byte
		for i := range requests {
			path, body := request(round, i)
			paths, bodies = append(paths, path), append(bodies, body)
		}
		return func() {
			eachOf(requests, atOnce, func(i int) {
				method := http.MethodGet
				if bodies[i] != nil {
					method = http.MethodPost
				}
				m.request(method, paths[i], bodies[i], nil, status)
			})
		}
	}}
}

// eachOf calls do(0..n-1) on so many goroutines.
func eachOf(n, atOnce int, do func(i int)) {
	next := make(chan int)
	var working sync.WaitGroup
	for range atOnce {
		working.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	working.Wait()
}

// request sends a request whose bytes count, and returns the reply. Another status than the wanted one fails the test.
func (m *meter) request(method, path string, body []byte, header http.Header, want int) []byte {
	r, err := http.NewRequestWithContext(m.t.Context(), method, "http://"+m.API+path, bytes.NewReader(body))
	if err != nil {
		m.t.Error(err)
		return nil
	}
	maps.Copy(r.Header, header)
	reply, err := m.http.Do(r)
	if err != nil {
		m.t.Errorf("%s %.100s: %v", method, path, err)
		return nil
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil || reply.StatusCode != want {
		m.t.Errorf("%s %.100s: status %d, want %d: %v %.300s", method, path, reply.StatusCode, want, err, text)
	}
	return text
}

// converse sends a head and the first byte of a body, reads the status of the reply, and hangs up.
func (m *meter) converse(head string, want int) {
	c, err := m.dial(m.t.Context(), "tcp", m.API)
	if err != nil {
		m.t.Error(err)
		return
	}
	defer c.Close()
	var status int
	if _, err = io.WriteString(c, head); err == nil {
		_, err = fmt.Fscanf(c, "HTTP/1.1 %d", &status)
	}
	if err != nil || status != want {
		m.t.Errorf("status %d, want %d: %v", status, want, err)
	}
}

func (m *meter) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	return countedConn{c, m}, err
}

// countedConn adds what is written to the meter's count of bytes sent.
type countedConn struct {
	net.Conn
	meter *meter
}

func (c countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.meter.sent.Add(int64(n))
	return n, err
}

// openUploads is how many bodies are open.
func (m *meter) openUploads() (n int) {
	m.asideOf(func() {
		_, text := m.admin("/metrics")
		_, after, _ := strings.Cut(text, "\ncountersign_ingest_open_uploads ")
		_, err := fmt.Sscan(after, &n)
		must(m.t, err)
	})
	return n
}

// hangUp adds the sites that are away: something accepts their connections and closes them.
func (m *meter) hangUp(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var working sync.WaitGroup
	working.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			m.fetches.Add(1)
			_ = c.Close()
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		working.Wait()
	})
	for i := range sitesAway {
		m.hosts = append(m.hosts, siteAway(i)+"="+listener.Addr().String())
	}
}

// publicOnly is an RSA key that nobody can sign with.
type publicOnly struct{ key *rsa.PublicKey }

func newPublicOnly(t *testing.T, exponent int) publicOnly {
	t.Helper()
	modulus := make([]byte, 8192/8)
	_, _ = cryptorand.Read(modulus)
	modulus[0] |= 0x80
	modulus[len(modulus)-1] |= 1
	return publicOnly{&rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: exponent}}
}

func (k publicOnly) Public() crypto.PublicKey { return k.key }

func (publicOnly) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("nobody has this key")
}

// unsigned is n new hashes with signatures that are none.
func unsigned(n int, signature func() []byte) []entry {
	entries := make([]entry, n)
	for i := range entries {
		var hash [32]byte
		_, _ = cryptorand.Read(hash[:])
		entries[i] = entry{hash: hex.EncodeToString(hash[:]), signature: client.EncodeSignature(signature())}
	}
	return entries
}

// randomRSA is a number below every modulus of so many bits.
func randomRSA(bits int) []byte {
	signature := make([]byte, bits/8)
	_, _ = cryptorand.Read(signature)
	signature[0] &= 0x7f
	return signature
}

// randomECDSA is two numbers below the order of a curve's group, in DER.
func randomECDSA(curve elliptic.Curve) []byte {
	number := func() *big.Int {
		n, err := cryptorand.Int(cryptorand.Reader, curve.Params().N)
		if err != nil {
			panic(err) // there is randomness
		}
		return n
	}
	signature, err := asn1.Marshal([]*big.Int{number(), number()})
	if err != nil {
		panic(err) // numbers can be marshalled
	}
	return signature
}

func packZstd(text []byte) []byte {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		panic(err) // the options are valid
	}
	defer w.Close()
	return w.EncodeAll(text, nil)
}

func packGzip(text []byte) []byte {
	var packed bytes.Buffer
	w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	_, _ = w.Write(text)
	_ = w.Close()
	return packed.Bytes()
}

// unfolding is a body in zstd that unfolds to almost as much as it may: some different pairs, and then one pair again
// and again.
func unfolding(different int, again entry) []byte {
	entries := unsigned(different, func() []byte { return []byte("AAA") })
	first := body(entries)
	most := 4<<10 + 195*len(packZstd(first))/10 // the decoder has not received everything when it unfolds
	repeated := (most-len(first))/(len(body([]entry{again}))-1) - 1
	return packZstd(body(append(entries, slices.Repeat([]entry{again}, repeated)...)))
}
