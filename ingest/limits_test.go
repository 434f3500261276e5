package ingest

// What bad input gets, and where each bound is (I6, I7).

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"countersign/ingest/internal/ingesttest"
)

func TestBodyThatIsNoListOfPairs(t *testing.T) {
	h := start(t, nil)
	good := pair(hashText(0), signature(8))
	long := string(pairs(0, 3000, 64))
	end := len(long) - 1
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
		{"malformed at its last byte", long[:end] + "}", 2999, end},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := h.Do("POST", "/api/v1/asyncsign/"+site, c.body)
			p := h.Problem(r, 400, "malformed-body")
			if c.element >= 0 && p["element"] != float64(c.element) || p["offset"] != float64(c.offset) {
				t.Errorf("want element %d, offset %d: %s", c.element, c.offset, r.Body)
			}
			if c.name == "a number" {
				golden(t, "problem-malformed", r.Body)
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
			text := string(pairs(0, 2500, 64))
			half := text[:len(text)-100]
			if framing[0] == 'T' {
				half = fmt.Sprintf("%x\r\n%s\r\n%x\r\n[", len(half), half, 100)
			}
			c := h.Dial()
			fmt.Fprintf(c, "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n%s", site, framing, half)
			if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			h.Problem(ingesttest.ReadReply(t, c), 400, "malformed-body")
			h.nothingKept()
			if s := h.done(h.upload(site, text)); s["okHash"] != 2500 { // I2: the same hashes count as added
				t.Error(s)
			}
		})
	}
}

func TestWholeListInACutOffBody(t *testing.T) {
	h := start(t, nil)
	text := string(pairs(0, 3, 64))
	c := h.Dial()
	fmt.Fprintf(c, bulkHead+"%s", site, len(text)+10, text)
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
	h.Problem(ingesttest.ReadReply(t, c), 400, "cut-off")
	h.nothingKept()
}

func TestTooManyPairs(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxPairs = 3000 })
	if r := h.Do("POST", "/api/v1/asyncsign/"+site, pairs(0, 3000, 8)); r.Status != 200 {
		t.Fatal(r)
	}
	r := h.Do("POST", "/api/v1/asyncsign/"+site, pairs(3000, 3001, 8))
	golden(t, "problem-too-many-pairs", r.Body)
	if p := h.Problem(r, 413, "too-many-pairs"); p["limit"] != 3000.0 || p["element"] != 3000.0 {
		t.Error(p)
	}
	if _, seals, aborts := h.log.count(); seals != 1 || aborts != 1 {
		t.Errorf("%d seals, %d aborts", seals, aborts)
	}
	r = h.Do("POST", "/api/v1/asyncsign/"+site, `[["`+strings.Repeat("a", 70_000)+`","b"]]`)
	p := h.Problem(r, 413, "element-too-long")
	if p["limit"] != 65536.0 {
		t.Error(p)
	}
}

func TestBodyTooLarge(t *testing.T) {
	h := start(t, func(c *Config) { c.HTTP.MaxBody = 100_000 })
	text := pairs(0, 5000, 64)
	chunked := ingesttest.Chunked{Reader: bytes.NewReader(text)}
	for _, body := range []any{text, chunked} { // announced, and found on the way
		if p := h.Problem(h.Do("POST", "/api/v1/asyncsign/"+site, body), 413, "body-too-large"); p["limit"] != 100_000.0 {
			t.Error(p)
		}
	}
	h.nothingKept()
	c := h.Dial() // announced: refused although nearly nothing of the body comes
	fmt.Fprintf(c, bulkHead+"[", site, 100_001)
	h.Problem(ingesttest.ReadReply(t, c), 413, "body-too-large")
}

func TestSitesThatAreNone(t *testing.T) {
	h := start(t, nil)
	for _, s := range []string{
		"192.0.2.1", "example.com:443", "a_b.example", strings.Repeat("a", 64) + ".example", "%5B::1%5D",
		"http:%2F%2Fexample.com", "a..b", "-a.example", "xn--a", "%FF.example", "a%20b.example", "%2e%2e",
	} {
		for _, path := range []string{"/api/v1/asyncsign/", "/api/v1/sign/"} {
			if r := h.Do("POST", path+s, "[]"); r.Status != 400 {
				t.Errorf("POST %s%s: %d", path, s, r.Status)
			} else {
				h.Problem(r, 400, "invalid-site")
			}
		}
		h.Problem(h.Do("GET", "/api/v1/sign/"+s+"?hash="+hashText(0)+"&sig=AAAA", nil), 400, "invalid-site")
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
	golden(t, "problem-not-found", h.Do("GET", "/api/v1/nothing", nil).Body)
	for _, path := range []string{
		"/api/v1/asyncsign/", "/api/v1/asyncsign/a/b", "/api/v1/sign/a/", "//api/v1/sign/a", "/api/v1/../v1/sign/a",
		"/api/v1/resultasync/a/1/2", "/api/v1/sign/a%2Fb/c",
	} {
		h.Problem(h.Do("GET", path, nil), 404, "not-found")
	}
	r := h.Do("GET", "/api/v1/asyncsign/"+site, nil)
	golden(t, "problem-method", r.Body)
	if h.Problem(r, 405, "method-not-allowed"); r.Header.Get("Allow") != "OPTIONS, POST" {
		t.Error(r.Header)
	}
	// HEAD must not sign.
	for method, want := range map[string]int{"HEAD": 405, "PUT": 405, "DELETE": 405, "OPTIONS": 204} {
		r := h.Do(method, "/api/v1/sign/"+site+"?hash="+hashText(0)+"&sig="+signature(8), nil)
		if r.Status != want || r.Header.Get("Allow") != "GET, OPTIONS, POST" {
			t.Errorf("%s: %d %v", method, r.Status, r.Header)
		}
	}
	id := h.upload(site, "[]")
	if r := h.Do("HEAD", "/api/v1/resultasync/"+id, nil); r.Status != 200 || r.Body != "" {
		t.Errorf("HEAD of a status: %v", r)
	}
	if r := h.Do("POST", "/api/v1/resultasync/"+id, "x"); r.Status != 405 {
		t.Errorf("POST of a status: %v", r)
	}
}

// openUpload begins an upload and returns once it has its place.
func openUpload(t *testing.T, h *harness) io.Closer {
	t.Helper()
	before := h.admission.Uploads.Held()
	c := h.Dial()
	fmt.Fprintf(c, "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[", site)
	ingesttest.Until(t, "the upload is open", func() bool { return h.admission.Uploads.Held() > before })
	return c
}

func TestTooManyOpenUploads(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxUploads = 2 })
	first := openUpload(t, h)
	openUpload(t, h)
	r := h.Do("POST", "/api/v1/asyncsign/"+site, "[]")
	golden(t, "problem-busy", r.Body)
	if h.Problem(r, 503, "busy"); r.Header.Get("Retry-After") != "1" {
		t.Error(r.Header)
	}
	first.Close()
	ingesttest.Until(t, "an upload is admitted after one has gone", func() bool {
		return h.Do("POST", "/api/v1/asyncsign/"+site, "[]").Status == 200
	})
}

func TestBacklog(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxBacklog = 10; c.Log.(*fakeLog).backlog = 11 })
	ingesttest.Until(t, "the backlog is known", func() bool { return h.backlog.Load() == 11 })
	r := h.Do("POST", "/api/v1/asyncsign/"+site, "[]")
	if h.Problem(r, 503, "backlog"); r.Header.Get("Retry-After") != "30" {
		t.Error(r.Header)
	}
	h.Problem(h.sign(site, 0), 503, "backlog")
	h.log.with(func(l *fakeLog) { l.backlog = 10 })
	ingesttest.Until(t, "the backlog is measured again", func() bool {
		return h.Do("POST", "/api/v1/asyncsign/"+site, "[]").Status == 200
	})
}
