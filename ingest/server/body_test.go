package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"countersign/ingest/internal/ingesttest"
	"countersign/ingest/problem"
)

// pipedWire is a body of so many bytes, and the client's side of its connection.
func pipedWire(t *testing.T, bytes int64, stall time.Duration) (*wire, net.Conn) {
	server, client := net.Pipe()
	t.Cleanup(func() { server.Close(); client.Close() })
	return &wire{
		ctx: t.Context(), src: server, deadline: server.SetReadDeadline, stall: stall, announced: bytes, max: 1 << 20,
		gone: func() bool { return false },
	}, client
}

// However slowly a body comes: it stalls only when nothing at all comes for the whole time-out.
func TestDribblingBodyIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const stall = 30 * time.Second
		w, client := pipedWire(t, 11, stall)
		go func() {
			for range 10 {
				time.Sleep(stall * 9 / 10)
				_, _ = client.Write([]byte("x"))
			}
		}()
		if n, err := io.ReadFull(w, make([]byte, 10)); err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
		begun := time.Now()
		_, err := w.Read(make([]byte, 1))
		var p *problem.Problem
		if !errors.As(err, &p) || p.Kind != "stalled" || time.Since(begun) > stall {
			t.Errorf("after %s: %v", time.Since(begun), err)
		}
	})
}

func TestContentEncodings(t *testing.T) {
	h := start(t, nil)
	plain := string(ingesttest.RandomPairs(0, 100, 64))
	good := ingesttest.Gzipped(plain)
	send := func(body []byte, encodings ...string) ingesttest.Reply {
		var headers []string
		for _, e := range encodings {
			headers = append(headers, "Content-Encoding", e)
		}
		return h.Do("POST", "/bodies/a", body, headers...)
	}
	for _, encoding := range []string{"br", "deflate", "gzip, zstd", "GZIP2"} {
		r := send(good, encoding)
		h.Problem(r, 415, "unsupported-encoding")
		if r.Header.Get("Accept-Encoding") != "gzip, zstd, identity" {
			t.Error(r.Header)
		}
	}
	h.Problem(send(good, "gzip", "identity"), 415, "unsupported-encoding") // one list of two codings
	wide := ingesttest.Zstandard(strings.Repeat(plain, 1500), zstd.WithWindowSize(16<<20), zstd.WithSingleSegment(false))
	for _, bad := range []struct {
		coding, name string
		body         []byte
	}{
		{"gzip", "no gzip", []byte("hello")},
		{"gzip", "cut off", good[:len(good)-9]},
		{"gzip", "garbage behind", append(bytes.Clone(good), "garbage"...)},
		{"gzip", "nothing", nil},
		{"zstd", "no zstd", []byte("hello, this is not zstd")},
		{"zstd", "cut off", ingesttest.Zstandard("[[")[:8]},
		{"zstd", "large window", wide},
	} {
		if r := send(bad.body, bad.coding); r.Status != 400 {
			t.Errorf("%s, %s: %d %s", bad.coding, bad.name, r.Status, r.Body)
		}
	}
	for _, encoding := range []string{"GZIP", "X-Gzip", " gzip "} { // RFC 9110, section 8.4.1: any letter case
		if r := send(good, encoding); r.Status != 200 {
			t.Errorf("%s: %v", encoding, r)
		}
	}
}

func TestBodyTooLarge(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxBody = 100_000 })
	plain := ingesttest.RandomPairs(0, 750, 64) // over the limit plain, below it compressed
	for name, c := range map[string]struct {
		body    any
		headers []string
	}{
		"announced": {body: plain},
		"found":     {body: ingesttest.Chunked{Reader: bytes.NewReader(plain)}},
		"gzip":      {body: ingesttest.Gzipped(string(plain)), headers: []string{"Content-Encoding", "gzip"}},
		"zstd":      {body: ingesttest.Zstandard(string(plain)), headers: []string{"Content-Encoding", "zstd"}},
	} {
		r := h.Do("POST", "/bodies/a", c.body, c.headers...)
		if p := h.Problem(r, 413, "body-too-large"); p["limit"] != 100_000.0 {
			t.Errorf("%s: %v", name, p)
		}
	}
}
