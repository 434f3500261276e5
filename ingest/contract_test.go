package ingest

// The contract's table (contract/README.md), row by row.

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"countersign/sink/store"
)

const site = "dummybank.rowit.co.uk"

func pair(hash, signature string) string { return `["` + hash + `","` + signature + `"]` }

func TestBulkCallAndItsAlias(t *testing.T) {
	for _, name := range []string{"asyncsign", "signasync"} {
		t.Run(name, func(t *testing.T) {
			h := start(t, func(c *Config) { c.Random = &counter{} })
			r := h.do("POST", "/api/v1/"+name+"/"+site, body(0, 2345, 64))
			if r.status != 200 || r.header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %s", r.status, r.header.Get("Content-Type"))
			}
			golden(t, "accepted", r.body)
			if s := h.done("02020202-0202-4202-8202-020202020202"); s["okHash"] != 2345 || s["doneBatch"] != 3 {
				t.Errorf("status %v", s)
			}
		})
	}
}

func TestEmptyListIsAnUpload(t *testing.T) {
	h := start(t, func(c *Config) { c.Random = &counter{} })
	r := h.do("POST", "/api/v1/asyncsign/"+site, " [ ] ")
	golden(t, "accepted-empty", r.body)
	golden(t, "status-empty", h.do("GET", "/api/v1/resultasync/02020202-0202-4202-8202-020202020202", nil).body)
	if r := h.do("GET", "/api/v1/resultasync/02020202-0202-4202-8202-020202020202/1", nil); r.status != 404 {
		t.Errorf("a batch of an empty upload: %d", r.status)
	}
	if r := h.do("POST", "/api/v1/sign/"+site, "[]"); r.status != 200 {
		t.Errorf("synchronous: %d", r.status)
	} else {
		golden(t, "details-empty", r.body)
	}
}

// mixed is an upload with one pair of every fate; hash 5 must be in the database already.
func mixed() string {
	return "[" + strings.Join([]string{
		pair(hashText(1), signature(64)),
		pair(strings.ToUpper(hashText(0xabc)), signature(64)),
		pair(hashText(2), "AAAA"),       // decodes, and is bad
		pair(hashText(3), "no base64!"), // does not decode: bad as well
		pair(strings.ToUpper(hashText(0xdef)), "AAAA"),
		pair(hashText(1), signature(64)), // repeated
		pair(hashText(5), signature(64)), // there already
		pair("C0FFEE", signature(64)),
		pair(`not \"hex\" \u00e9`, signature(64)),
		pair("C0FFEE", signature(64)), // the same text again: one key in an object
		pair(hashText(0xaBc)[:63]+"G", signature(64)),
		pair("Ab"+hashText(1)[2:], signature(64)), // neither lower nor upper case
	}, ",\n") + "]"
}

func TestDetails(t *testing.T) {
	h := start(t, nil)
	h.done(h.upload("other.example", body(5, 1, 64)))
	id := h.upload(site, mixed())
	h.done(id)
	golden(t, "status-mixed", h.do("GET", "/api/v1/resultasync/"+id, nil).body)
	r := h.do("GET", "/api/v1/resultasync/"+id+"/1", nil)
	if r.header.Get("Content-Type") != "application/json" {
		t.Error(r.header)
	}
	golden(t, "details-mixed", r.body)
}

func TestSynchronousBatchRepliesWithDetails(t *testing.T) {
	h := start(t, nil)
	h.done(h.upload("other.example", body(5, 1, 64)))
	golden(t, "details-mixed", h.do("POST", "/api/v1/sign/"+site, mixed()).body)
	r := h.do("POST", "/api/v1/sign/"+site, body(10_000, 10_000, 64))
	if n := strings.Count(r.body, `"`); r.status != 200 || n != 2*(10_000+4) {
		t.Errorf("10,000 pairs: %d, %d quotes", r.status, n)
	}
	r = h.do("POST", "/api/v1/sign/"+site, body(30_000, 10_001, 64))
	golden(t, "problem-sync-too-many", r.body)
	h.problem(r, 413, "too-many-pairs")
}

func TestSingleCall(t *testing.T) {
	h := start(t, nil)
	sig := signature(65)
	get := func(site, hash, sig string) reply {
		return h.do("GET", "/api/v1/sign/"+site+"?hash="+hash+"&sig="+sig, nil)
	}
	r := get(site, hashText(7), sig)
	if r.status != 200 || r.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%d %v", r.status, r.header)
	}
	golden(t, "single-signed", r.body)
	golden(t, "single-duplicate", get(site, hashText(7), sig).body)
	for _, bad := range []string{"AAAA", "no*base64", "%20", "~~~", ""} {
		r = get(site, hashText(8), bad)
		golden(t, "single-invalid", r.body)
		if r.status != 200 {
			t.Errorf("signature %q: %d", bad, r.status)
		}
	}
	// The hash as sent is what was signed; what is compared are its bytes.
	golden(t, "single-upper", get(site, strings.ToUpper(hashText(0xabc)), sig).body)
	golden(t, "single-upper-duplicate", get(site, hashText(0xabc), sig).body)
	// Standard letters too: percent-encoded, or with a plus sign that arrives as a space.
	standard := strings.NewReplacer("-", "+", "_", "=", "~", "/").Replace(sig)
	want := "signed OK " + site + " " + hashText(9) + " " + standard
	if r := get(site, hashText(9), standard); r.body != want {
		t.Errorf("standard letters: %q", r.body)
	}
	escaped := strings.NewReplacer("+", "%2B", "=", "%3D", "/", "%2F").Replace(standard)
	if r := get(site, hashText(10), escaped); !strings.HasPrefix(r.body, "signed OK ") {
		t.Errorf("percent-encoded: %q", r.body)
	}

	golden(t, "problem-certificate", get("nocert.example", hashText(11), sig).body)
	h.problem(get("nocert.example", hashText(11), sig), 502, "certificate-unavailable")
	golden(t, "problem-single-hash", get(site, "C0FFEE", sig).body)
	h.problem(get(site, "C0FFEE", sig), 400, "invalid-parameter")
	h.problem(get(site, "", sig), 400, "invalid-parameter")
	h.problem(h.do("GET", "/api/v1/sign/"+site+"?hash="+hashText(1), nil), 400, "invalid-parameter")
	h.problem(h.do("GET", "/api/v1/sign/"+site, nil), 400, "invalid-parameter")
	h.problem(get(site, hashText(1)+"&hash="+hashText(2), sig), 400, "invalid-parameter")
	h.problem(get(site, hashText(1), sig+"&sig="+sig), 400, "invalid-parameter")
}

func TestCertificateUnavailableInLists(t *testing.T) {
	h := start(t, nil)
	id := h.upload("nocert.example", body(0, 2, 64))
	if s := h.done(id); s["errorHash"] != 2 {
		t.Error(s)
	}
	golden(t, "details-nocert", h.do("GET", "/api/v1/resultasync/"+id+"/1", nil).body)
}

// chunkedReader hides its length, so that net/http sends it in chunked encoding.
type chunkedReader struct{ io.Reader }

func TestHowBodiesArrive(t *testing.T) {
	plain := string(body(0, 1500, 64))
	spaced := strings.NewReplacer(",", " ,\r\n\t", "[", " [\n ", "]", "\t ] ").Replace(plain)
	for _, c := range []struct {
		name    string
		body    any
		headers []string
	}{
		{name: "plain", body: plain},
		{name: "form type of curl -d", body: plain, headers: []string{"Content-Type", "application/x-www-form-urlencoded"}},
		{name: "multipart type", body: plain, headers: []string{"Content-Type", "multipart/form-data; boundary=x"}},
		{name: "white space everywhere", body: spaced},
		{name: "byte-order mark", body: "\xef\xbb\xbf" + plain},
		{name: "chunked", body: chunkedReader{strings.NewReader(plain)}},
		{name: "expect", body: plain, headers: []string{"Expect", "100-continue"}},
		{name: "chunked and expect", body: chunkedReader{strings.NewReader(plain)}, headers: []string{"Expect", "100-continue"}},
		{name: "gzip", body: gzipped(plain), headers: []string{"Content-Encoding", "gzip"}},
		{name: "x-gzip, two members", body: append(gzipped(plain[:1000]), gzipped(plain[1000:])...), headers: []string{"Content-Encoding", "x-gzip"}},
		{name: "zstd", body: zstandard(plain), headers: []string{"Content-Encoding", "zstd"}},
		{name: "zstd chunked", body: chunkedReader{bytes.NewReader(zstandard(plain))}, headers: []string{"Content-Encoding", "zstd"}},
		{name: "identity", body: plain, headers: []string{"Content-Encoding", "identity"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := start(t, nil)
			h.http.Transport.(*http.Transport).ExpectContinueTimeout = 5 * time.Second
			id := h.upload(site, c.body, c.headers...)
			if s := h.done(id); s["okHash"] != 1500 || s["doneBatch"] != 2 {
				t.Errorf("status %v", s)
			}
		})
	}
}

func TestBodyInOneBytePieces(t *testing.T) {
	h := start(t, nil)
	plain := body(0, 40, 64)
	one := func() io.Reader { return iotest.OneByteReader(bytes.NewReader(plain)) }
	if s := h.done(h.upload(site, chunkedReader{one()})); s["okHash"] != 40 { // a chunk for each byte
		t.Error(s)
	}
	c := dial(t, h)
	fmt.Fprintf(c, "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", site, len(plain))
	for _, b := range plain {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if r := readReply(t, c); r.status != 200 {
		t.Error(r)
	}
}

func TestDuplicatesWithinAndAcrossSites(t *testing.T) {
	h := start(t, nil)
	twice := "[" + pair(hashText(1), signature(8)) + "," + pair(strings.ToUpper(hashText(1)), signature(8)) + "]"
	if s := h.done(h.upload("a.example", twice)); s["okHash"] != 1 || s["dupHash"] != 1 {
		t.Error(s)
	}
	if s := h.done(h.upload("b.example", twice)); s["dupHash"] != 2 {
		t.Error(s)
	}
}

func TestDoneBatchIsAPrefix(t *testing.T) {
	h := start(t, nil)
	id := h.upload(site, body(0, 5000, 8))
	h.done(id)
	h.store.with(func(s *fakeStore) {
		for u, r := range s.results {
			if u.String() == id {
				r[2].Done = false
			}
		}
	})
	h.results.Forget(parseID(t, id)) // as if another process had accepted it
	golden(t, "status-prefix", h.do("GET", "/api/v1/resultasync/"+id, nil).body)
	for batch, want := range map[string]int{"1": 200, "2": 200, "3": 404, "4": 404, "5": 404, "6": 404, "0": 404, "-1": 404, "x": 404, "1.0": 404, "99999999999": 404} {
		r := h.do("GET", "/api/v1/resultasync/"+id+"/"+batch, nil)
		if r.status != want {
			t.Errorf("batch %s: %d", batch, r.status)
		}
		if want == 404 {
			h.problem(r, 404, "unknown-batch")
		}
	}
	golden(t, "problem-unknown-batch", h.do("GET", "/api/v1/resultasync/"+id+"/3", nil).body)
}

func TestProgressThatSkipsABatch(t *testing.T) {
	s := statusOf([]store.BatchProgress{{Batch: 2, Done: true, Added: 1000}}, 2)
	if s.Done != 0 || s.Waiting != 2 || s.Added != 0 {
		t.Errorf("%+v", s)
	}
}

func TestUnknownUploads(t *testing.T) {
	h := start(t, nil)
	golden(t, "problem-unknown-upload", h.do("GET", "/api/v1/resultasync/06b0ac02-bb62-4052-b48b-d875e26561f8", nil).body)
	id := h.upload(site, body(0, 1, 8))
	h.done(id)
	for _, text := range []string{"x", "%7B" + id + "%7D", strings.ReplaceAll(id, "-", ""), "urn:uuid:" + id, id + "%20"} {
		h.problem(h.do("GET", "/api/v1/resultasync/"+text, nil), 404, "unknown-upload")
	}
	if r := h.do("GET", "/api/v1/resultasync/"+strings.ToUpper(id), nil); r.status != 200 {
		t.Errorf("upper case: %d", r.status)
	}
	h.clock.advance(48 * time.Hour)
	if r := h.do("GET", "/api/v1/resultasync/"+id, nil); r.status != 200 {
		t.Errorf("at 48 hours: %d", r.status)
	}
	h.clock.advance(time.Second)
	h.problem(h.do("GET", "/api/v1/resultasync/"+id, nil), 404, "unknown-upload")
	h.problem(h.do("GET", "/api/v1/resultasync/"+id+"/1", nil), 404, "unknown-upload")
}

func TestWhoSigned(t *testing.T) {
	h := start(t, func(c *Config) { c.Random = &counter{} })
	h.done(h.upload(site, body(0, 2, 8)))
	golden(t, "hash", h.do("GET", "/api/v1/hash/"+strings.ToUpper(hashText(1)), nil).body)
	golden(t, "problem-unknown-hash", h.do("GET", "/api/v1/hash/"+hashText(2), nil).body)
	h.problem(h.do("GET", "/api/v1/hash/abc", nil), 400, "invalid-parameter")
}
