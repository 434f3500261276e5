package ingest

// The rules of docs/contract.md, one by one.

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"countersign/ingest/internal/ingesttest"
)

const site = "dummybank.rowit.co.uk"

func TestBulkCallAndItsAlias(t *testing.T) {
	for _, name := range []string{"asyncsign", "signasync"} {
		t.Run(name, func(t *testing.T) {
			h := start(t, func(c *Config) { c.Random = &counter{} })
			r := h.Do("POST", "/api/v1/"+name+"/"+site, ingesttest.Pairs(0, 2345, 64))
			if r.Status != 200 || r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %s", r.Status, r.Header.Get("Content-Type"))
			}
			golden(t, "accepted", r.Body)
			if s := h.done(firstUpload); s["okHash"] != 2345 || s["doneBatch"] != 3 {
				t.Errorf("status %v", s)
			}
		})
	}
}

func TestEmptyListIsAnUpload(t *testing.T) {
	h := start(t, func(c *Config) { c.Random = &counter{} })
	r := h.Do("POST", "/api/v1/asyncsign/"+site, " [ ] ")
	golden(t, "accepted-empty", r.Body)
	golden(t, "status-empty", h.Do("GET", "/api/v1/resultasync/"+firstUpload, nil).Body)
	if r := h.Do("GET", "/api/v1/resultasync/"+firstUpload+"/1", nil); r.Status != 404 {
		t.Errorf("a batch of an empty upload: %d", r.Status)
	}
	if r := h.Do("POST", "/api/v1/sign/"+site, "[]"); r.Status != 200 {
		t.Errorf("synchronous: %d", r.Status)
	} else {
		golden(t, "details-empty", r.Body)
	}
}

// mixed is an upload with one pair of every fate; hash 5 must be in the database already.
func mixed() string {
	return "[" + strings.Join([]string{
		ingesttest.Pair(ingesttest.HashText(1), ingesttest.Signature(64)),
		ingesttest.Pair(strings.ToUpper(ingesttest.HashText(0xabc)), ingesttest.Signature(64)),
		ingesttest.Pair(ingesttest.HashText(2), "AAAA"),       // decodes, and is bad
		ingesttest.Pair(ingesttest.HashText(3), "no base64!"), // does not decode: bad as well
		ingesttest.Pair(strings.ToUpper(ingesttest.HashText(0xdef)), "AAAA"),
		ingesttest.Pair(ingesttest.HashText(1), ingesttest.Signature(64)), // repeated
		ingesttest.Pair(ingesttest.HashText(5), ingesttest.Signature(64)), // there already
		ingesttest.Pair("C0FFEE", ingesttest.Signature(64)),
		ingesttest.Pair(`not \"hex\" \u00e9`, ingesttest.Signature(64)),
		ingesttest.Pair("C0FFEE", ingesttest.Signature(64)), // the same text again: one key in an object
		ingesttest.Pair(ingesttest.HashText(0xaBc)[:63]+"G", ingesttest.Signature(64)),
		ingesttest.Pair("Ab"+ingesttest.HashText(1)[2:], ingesttest.Signature(64)), // neither lower nor upper case
	}, ",\n") + "]"
}

func TestDetails(t *testing.T) {
	h := start(t, nil)
	h.done(h.upload("other.example", ingesttest.Pairs(5, 1, 64)))
	id := h.upload(site, mixed())
	h.done(id)
	golden(t, "status-mixed", h.Do("GET", "/api/v1/resultasync/"+id, nil).Body)
	r := h.Do("GET", "/api/v1/resultasync/"+id+"/1", nil)
	if r.Header.Get("Content-Type") != "application/json" {
		t.Error(r.Header)
	}
	golden(t, "details-mixed", r.Body)
}

func TestSynchronousBatchRepliesWithDetails(t *testing.T) {
	h := start(t, nil)
	h.done(h.upload("other.example", ingesttest.Pairs(5, 1, 64)))
	golden(t, "details-mixed", h.Do("POST", "/api/v1/sign/"+site, mixed()).Body)
	r := h.Do("POST", "/api/v1/sign/"+site, ingesttest.Pairs(10_000, 10_000, 64))
	if n := strings.Count(r.Body, `"`); r.Status != 200 || n != 2*(10_000+4) {
		t.Errorf("10,000 pairs: %d, %d quotes", r.Status, n)
	}
	r = h.Do("POST", "/api/v1/sign/"+site, ingesttest.Pairs(30_000, 10_001, 64))
	golden(t, "problem-sync-too-many", r.Body)
	h.Problem(r, 413, "too-many-pairs")
}

func TestSingleCall(t *testing.T) {
	h := start(t, nil)
	sig := ingesttest.Signature(65)
	get := func(site, hash, sig string) ingesttest.Reply {
		return h.Do("GET", "/api/v1/sign/"+site+"?hash="+hash+"&sig="+sig, nil)
	}
	r := get(site, ingesttest.HashText(7), sig)
	if r.Status != 200 || r.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%d %v", r.Status, r.Header)
	}
	golden(t, "single-signed", r.Body)
	golden(t, "single-duplicate", get(site, ingesttest.HashText(7), sig).Body)
	for _, bad := range []string{"AAAA", "no*base64", "%20", "~~~", ""} {
		r = get(site, ingesttest.HashText(8), bad)
		golden(t, "single-invalid", r.Body)
		if r.Status != 200 {
			t.Errorf("signature %q: %d", bad, r.Status)
		}
	}
	// The hash as sent is what was signed; what is compared are its bytes.
	golden(t, "single-upper", get(site, strings.ToUpper(ingesttest.HashText(0xabc)), sig).Body)
	golden(t, "single-upper-duplicate", get(site, ingesttest.HashText(0xabc), sig).Body)
	// Standard letters too: percent-encoded, or with a plus sign that arrives as a space.
	standard := strings.NewReplacer("-", "+", "_", "=", "~", "/").Replace(sig)
	want := "signed OK " + site + " " + ingesttest.HashText(9) + " " + standard
	if r := get(site, ingesttest.HashText(9), standard); r.Body != want {
		t.Errorf("standard letters: %q", r.Body)
	}
	escaped := strings.NewReplacer("+", "%2B", "=", "%3D", "/", "%2F").Replace(standard)
	if r := get(site, ingesttest.HashText(10), escaped); !strings.HasPrefix(r.Body, "signed OK ") {
		t.Errorf("percent-encoded: %q", r.Body)
	}

	golden(t, "problem-certificate", get("nocert.example", ingesttest.HashText(11), sig).Body)
	h.Problem(get("nocert.example", ingesttest.HashText(11), sig), 502, "certificate-unavailable")
	golden(t, "problem-single-hash", get(site, "C0FFEE", sig).Body)
	h.Problem(get(site, "C0FFEE", sig), 400, "invalid-parameter")
	h.Problem(get(site, "", sig), 400, "invalid-parameter")
	h.Problem(h.Do("GET", "/api/v1/sign/"+site+"?hash="+ingesttest.HashText(1), nil), 400, "invalid-parameter")
	h.Problem(h.Do("GET", "/api/v1/sign/"+site, nil), 400, "invalid-parameter")
	h.Problem(get(site, ingesttest.HashText(1)+"&hash="+ingesttest.HashText(2), sig), 400, "invalid-parameter")
	h.Problem(get(site, ingesttest.HashText(1), sig+"&sig="+sig), 400, "invalid-parameter")
}

func TestCertificateUnavailableInLists(t *testing.T) {
	h := start(t, nil)
	id := h.upload("nocert.example", ingesttest.Pairs(0, 2, 64))
	if s := h.done(id); s["errorHash"] != 2 {
		t.Error(s)
	}
	golden(t, "details-nocert", h.Do("GET", "/api/v1/resultasync/"+id+"/1", nil).Body)
}

func TestHowBodiesArrive(t *testing.T) {
	plain := string(ingesttest.Pairs(0, 1500, 64))
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
		{name: "chunked", body: ingesttest.Chunked{Reader: strings.NewReader(plain)}},
		{name: "expect", body: plain, headers: []string{"Expect", "100-continue"}},
		{name: "chunked and expect", body: ingesttest.Chunked{Reader: strings.NewReader(plain)}, headers: []string{"Expect", "100-continue"}},
		{name: "gzip", body: ingesttest.Gzipped(plain), headers: []string{"Content-Encoding", "gzip"}},
		{name: "x-gzip, two members", body: append(ingesttest.Gzipped(plain[:1000]), ingesttest.Gzipped(plain[1000:])...), headers: []string{"Content-Encoding", "x-gzip"}},
		{name: "zstd", body: ingesttest.Zstandard(plain), headers: []string{"Content-Encoding", "zstd"}},
		{name: "zstd chunked", body: ingesttest.Chunked{Reader: bytes.NewReader(ingesttest.Zstandard(plain))}, headers: []string{"Content-Encoding", "zstd"}},
		{name: "identity", body: plain, headers: []string{"Content-Encoding", "identity"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := start(t, nil)
			id := h.upload(site, c.body, c.headers...)
			if s := h.done(id); s["okHash"] != 1500 || s["doneBatch"] != 2 {
				t.Errorf("status %v", s)
			}
		})
	}
}

func TestBodyInOneBytePieces(t *testing.T) {
	h := start(t, nil)
	plain := ingesttest.Pairs(0, 40, 64)
	one := func() io.Reader { return iotest.OneByteReader(bytes.NewReader(plain)) }
	if s := h.done(h.upload(site, ingesttest.Chunked{Reader: one()})); s["okHash"] != 40 { // a chunk for each byte
		t.Error(s)
	}
	c := h.Dial()
	fmt.Fprintf(c, "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", site, len(plain))
	for _, b := range plain {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if r := ingesttest.ReadReply(t, c); r.Status != 200 {
		t.Error(r)
	}
}

func TestDuplicatesWithinAndAcrossSites(t *testing.T) {
	h := start(t, nil)
	twice := "[" + ingesttest.Pair(ingesttest.HashText(1), ingesttest.Signature(8)) + "," + ingesttest.Pair(strings.ToUpper(ingesttest.HashText(1)), ingesttest.Signature(8)) + "]"
	if s := h.done(h.upload("a.example", twice)); s["okHash"] != 1 || s["dupHash"] != 1 {
		t.Error(s)
	}
	if s := h.done(h.upload("b.example", twice)); s["dupHash"] != 2 {
		t.Error(s)
	}
}

func TestDoneBatchIsAPrefix(t *testing.T) {
	h := start(t, nil)
	id := h.upload(site, ingesttest.Pairs(0, 5000, 8))
	h.done(id)
	h.store.With(func(s *ingesttest.Store) {
		for u, r := range s.Results {
			if u.String() == id {
				r[2].Done = false
			}
		}
	})
	h.results.Forget(parseID(t, id)) // as if another process had accepted it
	golden(t, "status-prefix", h.Do("GET", "/api/v1/resultasync/"+id, nil).Body)
	for batch, want := range map[string]int{"1": 200, "2": 200, "3": 404, "4": 404, "5": 404, "6": 404, "0": 404, "-1": 404, "x": 404, "1.0": 404, "99999999999": 404} {
		r := h.Do("GET", "/api/v1/resultasync/"+id+"/"+batch, nil)
		if r.Status != want {
			t.Errorf("batch %s: %d", batch, r.Status)
		}
		if want == 404 {
			h.Problem(r, 404, "unknown-batch")
		}
	}
	golden(t, "problem-unknown-batch", h.Do("GET", "/api/v1/resultasync/"+id+"/3", nil).Body)
}

func TestUnknownUploads(t *testing.T) {
	h := start(t, nil)
	golden(t, "problem-unknown-upload", h.Do("GET", "/api/v1/resultasync/06b0ac02-bb62-4052-b48b-d875e26561f8", nil).Body)
	id := h.upload(site, ingesttest.Pairs(0, 1, 8))
	h.done(id)
	for _, text := range []string{"x", "%7B" + id + "%7D", strings.ReplaceAll(id, "-", ""), "urn:uuid:" + id, id + "%20"} {
		h.Problem(h.Do("GET", "/api/v1/resultasync/"+text, nil), 404, "unknown-upload")
	}
	if r := h.Do("GET", "/api/v1/resultasync/"+strings.ToUpper(id), nil); r.Status != 200 {
		t.Errorf("upper case: %d", r.Status)
	}
	h.clock.advance(48 * time.Hour)
	if r := h.Do("GET", "/api/v1/resultasync/"+id, nil); r.Status != 200 {
		t.Errorf("at 48 hours: %d", r.Status)
	}
	h.clock.advance(time.Second)
	h.Problem(h.Do("GET", "/api/v1/resultasync/"+id, nil), 404, "unknown-upload")
	h.Problem(h.Do("GET", "/api/v1/resultasync/"+id+"/1", nil), 404, "unknown-upload")
}

func TestWhoSigned(t *testing.T) {
	h := start(t, func(c *Config) { c.Random = &counter{} })
	h.done(h.upload(site, ingesttest.Pairs(0, 2, 8)))
	golden(t, "hash", h.Do("GET", "/api/v1/hash/"+strings.ToUpper(ingesttest.HashText(1)), nil).Body)
	golden(t, "problem-unknown-hash", h.Do("GET", "/api/v1/hash/"+ingesttest.HashText(2), nil).Body)
	h.Problem(h.Do("GET", "/api/v1/hash/abc", nil), 400, "invalid-parameter")
}
