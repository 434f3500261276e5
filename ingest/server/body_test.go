package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
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
	} {
		if r := send(bad.body, bad.coding); r.Status != 400 {
			t.Errorf("%s, %s: %d %s", bad.coding, bad.name, r.Status, r.Body)
		}
	}
	for _, c := range []struct {
		coding, name string
		body         []byte
		status       int
		says         string
	}{
		{"zstd", "large window", wide, 415, "a window of 16 MiB and 8 MiB is the most here: compress it with zstd's level 19 or less, without --long"},
		{"zstd", "large window in the second frame", append(ingesttest.Zstandard(plain), wide...), 415, "a larger window"},
		{"zstd", "dictionary", []byte("\x28\xb5\x2f\xfd\x01\x00\x07"), 415, "without one (zstd's option -D)"},
		{"zstd", "gzip", good, 400, "It is gzip data: compress the body once, and send it with the header Content-Encoding: gzip."},
		{"gzip", "zstd", ingesttest.Zstandard(plain), 400, "It is zstd data"},
		{"gzip", "plain", []byte(" " + plain), 400, "It is a plain list: send it without that header"},
		{"zstd", "plain", []byte(plain), 400, "It is a plain list: send it without that header"},
		{"gzip", "xz", []byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46"), 400, "It is xz data: unpack it"},
	} {
		if r := send(c.body, c.coding); r.Status != c.status || !strings.Contains(r.Body, c.says) {
			t.Errorf("%s, %s: %d %s", c.coding, c.name, r.Status, r.Body)
		}
	}
	for _, c := range []struct { // a body may be in parts: pigz -i, pzstd and cat make such files
		coding string
		part   func(string) []byte
	}{{"gzip", ingesttest.Gzipped}, {"zstd", func(s string) []byte { return ingesttest.Zstandard(s) }}} {
		parts := slices.Concat(c.part(plain[:50]), c.part(""), c.part(plain[50:]))
		if r := send(parts, c.coding); r.Status != 200 || r.Body != strconv.Itoa(len(plain)) {
			t.Errorf("%s in parts: %v", c.coding, r)
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
