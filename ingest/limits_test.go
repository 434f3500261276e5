package ingest

// What bad input gets, and where each bound is (I6, I7).

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

func TestBodyThatIsNoListOfPairs(t *testing.T) {
	h := start(t, nil)
	good := pair(hashText(0), signature(8))
	for _, c := range []struct {
		name, body      string
		element, offset int
	}{
		{"empty", "", -1, 0},
		{"no JSON", "hello", -1, 0},
		{"an object", `{"a":1}`, -1, 0},
		{"not pairs", `["a"]`, 0, 1},
		{"three strings", `[` + good + `,["a","b","c"]]`, 1, len(good) + 2 + 8},
		{"a number", `[` + good + `,["a",1]]`, 1, len(good) + 2 + 5},
		{"cut off", `[` + good + `,["a"`, 1, len(good) + 2 + 4},
		{"trailing bytes", `[` + good + `]]`, -1, len(good) + 2},
		{"malformed at its last byte", string(body(0, 3000, 64)[:len(body(0, 3000, 64))-1]) + "}", 2999, len(body(0, 3000, 64)) - 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := h.do("POST", "/api/v1/asyncsign/"+site, c.body)
			p := h.problem(r, 400, "malformed-body")
			if c.element >= 0 && p["element"] != float64(c.element) || p["offset"] != float64(c.offset) {
				t.Errorf("want element %d, offset %d: %s", c.element, c.offset, r.body)
			}
			if c.name == "a number" {
				golden(t, "problem-malformed", r.body)
			}
		})
	}
	h.nothingKept()
	if _, _, aborts := h.log.count(); aborts != 1 { // only the last one had sent a chunk
		t.Errorf("%d aborts", aborts)
	}
}

func TestBodyCutOffByTheClient(t *testing.T) {
	for _, framing := range []string{"Content-Length: 1000000", "Transfer-Encoding: chunked"} {
		t.Run(framing, func(t *testing.T) {
			h := start(t, nil)
			text := string(body(0, 2500, 64))
			half := text[:len(text)-100]
			if framing[0] == 'T' {
				half = fmt.Sprintf("%x\r\n%s\r\n%x\r\n[", len(half), half, 100)
			}
			c := dial(t, h)
			fmt.Fprintf(c, "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n%s", site, framing, half)
			if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			h.problem(readReply(t, c), 400, "malformed-body")
			h.nothingKept()
			if s := h.done(h.upload(site, text)); s["okHash"] != 2500 { // I2: the same hashes count as added
				t.Error(s)
			}
		})
	}
}

func TestWholeListInACutOffBody(t *testing.T) {
	h := start(t, nil)
	text := string(body(0, 3, 64))
	c := dial(t, h)
	fmt.Fprintf(c, "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", site, len(text)+10, text)
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
	h.problem(readReply(t, c), 400, "cut-off")
	h.nothingKept()
}

func TestTooManyPairs(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxPairs = 3000 })
	if r := h.do("POST", "/api/v1/asyncsign/"+site, body(0, 3000, 8)); r.status != 200 {
		t.Fatal(r)
	}
	r := h.do("POST", "/api/v1/asyncsign/"+site, body(3000, 3001, 8))
	golden(t, "problem-too-many-pairs", r.body)
	if p := h.problem(r, 413, "too-many-pairs"); p["limit"] != 3000.0 || p["element"] != 3000.0 {
		t.Error(p)
	}
	if _, seals, aborts := h.log.count(); seals != 1 || aborts != 1 {
		t.Errorf("%d seals, %d aborts", seals, aborts)
	}
	p := h.problem(h.do("POST", "/api/v1/asyncsign/"+site, `[["`+strings.Repeat("a", 70_000)+`","b"]]`), 413, "element-too-long")
	if p["limit"] != 65536.0 {
		t.Error(p)
	}
}

func TestBodyTooLarge(t *testing.T) {
	h := start(t, func(c *Config) { c.HTTP.MaxBody = 100_000 })
	plain := body(0, 5000, 64) // over the limit plain, far below it compressed
	spaces := "[" + strings.Repeat(" ", 200_000) + "]"
	for name, c := range map[string]struct {
		body    any
		headers []string
	}{
		"announced": {body: plain},
		"found":     {body: chunkedReader{bytes.NewReader(plain)}},
		"gzip":      {body: gzipped(spaces), headers: []string{"Content-Encoding", "gzip"}},
		"zstd":      {body: zstandard(spaces), headers: []string{"Content-Encoding", "zstd"}},
	} {
		r := h.do("POST", "/api/v1/asyncsign/"+site, c.body, c.headers...)
		if p := h.problem(r, 413, "body-too-large"); p["limit"] != 100_000.0 {
			t.Errorf("%s: %v", name, p)
		}
	}
	h.nothingKept()
	c := dial(t, h) // announced: refused although nearly nothing of the body comes
	fmt.Fprintf(c, "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n[", site)
	h.problem(readReply(t, c), 413, "body-too-large")
}

func TestContentEncodings(t *testing.T) {
	h := start(t, nil)
	good := gzipped(string(body(0, 100, 64)))
	send := func(encoding string, body []byte) reply {
		return h.do("POST", "/api/v1/asyncsign/"+site, body, "Content-Encoding", encoding)
	}
	for _, encoding := range []string{"br", "deflate", "gzip, zstd", "GZIP2"} {
		r := send(encoding, good)
		h.problem(r, 415, "unsupported-encoding")
		if r.header.Get("Accept-Encoding") != "gzip, zstd, identity" {
			t.Error(r.header)
		}
	}
	wide := zstandard(strings.Repeat(string(body(0, 1000, 64)), 150), zstd.WithWindowSize(16<<20), zstd.WithSingleSegment(false))
	for name, bad := range map[string][]byte{
		"gzip":                 []byte("hello"),
		"gzip ":                good[:len(good)-9],
		"gzip  ":               append(bytes.Clone(good), "garbage"...),
		"gzip   ":              {},
		"zstd":                 []byte("hello, this is not zstd"),
		"zstd ":                zstandard("[[")[:8],
		"zstd  (large window)": wide,
	} {
		r := send(strings.Fields(name)[0], bad)
		if r.status != 400 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	twice := []string{"Content-Encoding", "gzip", "Content-Encoding", "identity"} // one list of two codings
	h.problem(h.do("POST", "/api/v1/asyncsign/"+site, good, twice...), 415, "unsupported-encoding")
	h.nothingKept()
	for _, encoding := range []string{"GZIP", "X-Gzip", " gzip "} { // RFC 9110, section 8.4.1: any letter case
		if r := send(encoding, good); r.status != 200 {
			t.Errorf("%s: %v", encoding, r)
		}
	}
}

func TestSitesThatAreNone(t *testing.T) {
	h := start(t, nil)
	for _, s := range []string{"192.0.2.1", "example.com:443", "a_b.example", strings.Repeat("a", 64) + ".example", "%5B::1%5D", "http:%2F%2Fexample.com",
		"a..b", "-a.example", "xn--a", "%FF.example", "a%20b.example", "%2e%2e"} {
		for _, path := range []string{"/api/v1/asyncsign/", "/api/v1/sign/"} {
			if r := h.do("POST", path+s, "[]"); r.status != 400 {
				t.Errorf("POST %s%s: %d", path, s, r.status)
			} else {
				h.problem(r, 400, "invalid-site")
			}
		}
		h.problem(h.do("GET", "/api/v1/sign/"+s+"?hash="+hashText(0)+"&sig=AAAA", nil), 400, "invalid-site")
	}
	h.upload("b%C3%BCcher.example", "[]")
	h.upload("EXAMPLE.com.", "[]")
	h.upload("%65xample.com", "[]")
	for _, m := range h.log.records {
		if s := m.GetSeal().GetSite(); s != "xn--bcher-kva.example" && s != "example.com" {
			t.Errorf("site %q", s)
		}
	}
}

func TestPathsAndMethods(t *testing.T) {
	h := start(t, nil)
	golden(t, "problem-not-found", h.do("GET", "/api/v1/nothing", nil).body)
	for _, path := range []string{"/api/v1/asyncsign/", "/api/v1/asyncsign/a/b", "/api/v1/sign/a/", "//api/v1/sign/a", "/api/v1/../v1/sign/a", "/api/v1/resultasync/a/1/2",
		"/api/v1/sign/a%2Fb/c"} {
		h.problem(h.do("GET", path, nil), 404, "not-found")
	}
	r := h.do("GET", "/api/v1/asyncsign/"+site, nil)
	golden(t, "problem-method", r.body)
	if h.problem(r, 405, "method-not-allowed"); r.header.Get("Allow") != "OPTIONS, POST" {
		t.Error(r.header)
	}
	for method, want := range map[string]int{"HEAD": 405, "PUT": 405, "DELETE": 405, "OPTIONS": 204} { // HEAD must not sign
		r := h.do(method, "/api/v1/sign/"+site+"?hash="+hashText(0)+"&sig="+signature(8), nil)
		if r.status != want || r.header.Get("Allow") != "GET, OPTIONS, POST" {
			t.Errorf("%s: %d %v", method, r.status, r.header)
		}
	}
	id := h.upload(site, "[]")
	if r := h.do("HEAD", "/api/v1/resultasync/"+id, nil); r.status != 200 || r.body != "" {
		t.Errorf("HEAD of a status: %v", r)
	}
	if r := h.do("POST", "/api/v1/resultasync/"+id, "x"); r.status != 405 {
		t.Errorf("POST of a status: %v", r)
	}
	c := dial(t, h)
	fmt.Fprint(c, "GET /api/v1/sign/a%zz HTTP/1.1\r\nHost: x\r\n\r\n")
	h.problem(readReply(t, c), 400, "malformed-request")
}

func TestHostileHeads(t *testing.T) {
	h := start(t, func(c *Config) { c.HTTP.StallTimeout = 700 * time.Millisecond })
	for name, c := range map[string]struct {
		head   string
		status int
	}{
		"no HTTP":               {"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400},
		"too large":             {"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + strings.Repeat("a", 20_000) + "\r\n\r\n", 431},
		"slow":                  {"GET / HTTP/1.1\r\nHo", 408},
		"two lengths":           {"POST /api/v1/sign/a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n[]", 400},
		"negative length":       {"POST /api/v1/sign/a HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\n[]", 400},
		"unknown coding":        {"POST /api/v1/sign/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n[]", 400},
		"absolute site":         {"POST /api/v1/asyncsign/https://example.com HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n[", 404},
		"broken chunks":         {"POST /api/v1/asyncsign/a.example HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[]", 400},
		"chunk longer than all": {"POST /api/v1/asyncsign/a.example HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n[]", 400},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, h)
			if _, err := io.WriteString(conn, c.head); err != nil {
				t.Fatal(err)
			}
			r := readReply(t, conn)
			if r.status != c.status || r.header.Get("Content-Type") != "application/problem+json" || !r.closed {
				t.Errorf("%d %v %s", r.status, r.header, r.body)
			}
		})
	}
	h.nothingKept()
}

func TestRestOfARefusedBodyIsNoRequest(t *testing.T) {
	h := start(t, func(c *Config) { c.HTTP.LingerTimeout = 100 * time.Millisecond })
	inner := "POST /api/v1/asyncsign/evil.example HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]"
	for name, head := range map[string]string{
		"refused":       "POST /api/v1/asyncsign/192.0.2.1 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
		"malformed":     "POST /api/v1/asyncsign/a.example HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
		"GET with body": "GET /api/v1/hash/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
		"not found":     "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
	} {
		c := dial(t, h)
		fmt.Fprintf(c, head+"%s", len(inner)+1000, inner)
		r := bufio.NewReader(c)
		if reply := readReplyFrom(t, r); !reply.closed {
			t.Errorf("%s: %v", name, reply.header)
		}
		if rest, _ := io.ReadAll(r); len(rest) > 0 {
			t.Errorf("%s: another reply: %q", name, rest)
		}
	}
	h.nothingKept()
}

func TestConnectionIsKeptWhereTheBodyWasRead(t *testing.T) {
	h := start(t, nil)
	c := dial(t, h)
	r := bufio.NewReader(c)
	for _, body := range []string{"[]", "[x", "[]", string(body(0, 3, 8)), " [[]]"} {
		fmt.Fprintf(c, "POST /api/v1/asyncsign/a.example HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		if reply := readReplyFrom(t, r); reply.closed {
			t.Errorf("%s: closed after %v", body, reply)
		}
	}
}

func TestStalledBody(t *testing.T) {
	h := start(t, func(c *Config) { c.HTTP.StallTimeout, c.HTTP.LingerTimeout = 200*time.Millisecond, 50*time.Millisecond })
	text := body(0, 2500, 64)
	for name, head := range map[string]string{
		"length":                 fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(text), text[:len(text)/2]),
		"none":                   fmt.Sprintf("Content-Length: %d\r\n\r\n", len(text)),
		"chunked":                fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s", len(text), text[:len(text)/2]),
		"in the head of a chunk": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(text)/2, text[:len(text)/2]),
		"in the size of a chunk": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n1", len(text)/2, text[:len(text)/2]),
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, h)
			fmt.Fprintf(c, "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\n%s", site, head)
			h.problem(readReply(t, c), 408, "stalled")
			h.nothingKept()
		})
	}
	if s := h.done(h.upload(site, text)); s["okHash"] != 2500 {
		t.Error(s)
	}
}

func TestDribblingBodyIsNoStall(t *testing.T) {
	h := start(t, func(c *Config) { c.HTTP.StallTimeout = 700 * time.Millisecond })
	text := body(0, 3, 8)
	c := dial(t, h)
	fmt.Fprintf(c, "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", site, len(text))
	for part := range 6 {
		time.Sleep(150 * time.Millisecond)
		_, _ = c.Write(text[len(text)*part/6 : len(text)*(part+1)/6])
	}
	if r := readReply(t, c); r.status != 200 {
		t.Error(r)
	}
}

func TestUploadDeadline(t *testing.T) {
	h := start(t, func(c *Config) { c.HTTP.BodyTimeout, c.HTTP.LingerTimeout = 300*time.Millisecond, 50*time.Millisecond })
	text := body(0, 2500, 64)
	c := dial(t, h)
	fmt.Fprintf(c, "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", site, len(text))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range text {
			if _, err := c.Write(text[i : i+1]); err != nil {
				return
			}
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	h.problem(readReply(t, c), 408, "too-slow")
	close(stop)
	wg.Wait()
	h.nothingKept()
}

// openUpload begins an upload and returns once the server reads its body.
func openUpload(t *testing.T, h *harness) io.Closer {
	t.Helper()
	before := len(h.uploads)
	c := dial(t, h)
	fmt.Fprintf(c, "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[", site)
	for range 1000 {
		if len(h.uploads) > before {
			return c
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the upload never began")
	return nil
}

func TestTooManyOpenUploads(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxUploads = 2 })
	first := openUpload(t, h)
	openUpload(t, h)
	r := h.do("POST", "/api/v1/asyncsign/"+site, "[]")
	golden(t, "problem-busy", r.body)
	if h.problem(r, 503, "busy"); r.header.Get("Retry-After") != "1" {
		t.Error(r.header)
	}
	first.Close()
	for range 1000 {
		if r = h.do("POST", "/api/v1/asyncsign/"+site, "[]"); r.status == 200 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("no upload was admitted after one had gone")
}

func TestBacklog(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxBacklog = 10 })
	h.backlog.Store(11)
	r := h.do("POST", "/api/v1/asyncsign/"+site, "[]")
	if h.problem(r, 503, "backlog"); r.header.Get("Retry-After") != "30" {
		t.Error(r.header)
	}
	h.problem(h.do("GET", "/api/v1/sign/"+site+"?hash="+hashText(0)+"&sig=AAAA", nil), 503, "backlog")
	h.log.with(func(l *fakeLog) { l.backlog = 10 })
	for range 1500 {
		if r = h.do("POST", "/api/v1/asyncsign/"+site, "[]"); r.status == 200 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("the backlog was never measured again")
}
