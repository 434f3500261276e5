package ingest

// The rules of docs/contract.md that can be seen in replies.

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"countersign/ingest/internal/ingesttest"
	"countersign/sink/store"
)

const site = "dummybank.rowit.co.uk"

func TestBulkCallAndItsAlias(t *testing.T) {
	for _, name := range []string{"asyncsign", "signasync"} {
		t.Run(name, func(t *testing.T) {
			h := start(t, func(c *Config) { c.Random = &counter{} })
			r := h.Do("POST", "/api/v1/"+name+"/"+site, pairs(0, 2345, 64))
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
	h.done(h.upload("other.example", pairs(5, 1, 64)))
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
	h.done(h.upload("other.example", pairs(5, 1, 64)))
	golden(t, "details-mixed", h.Do("POST", "/api/v1/sign/"+site, mixed()).Body)
	r := h.Do("POST", "/api/v1/sign/"+site, pairs(10_000, 100_000, 64))
	if n := strings.Count(r.Body, `"`); r.Status != 200 || n != 2*(100_000+4) {
		t.Errorf("100,000 pairs: %d, %d quotes", r.Status, n)
	}
	r = h.Do("POST", "/api/v1/sign/"+site, pairs(200_000, 100_001, 64))
	golden(t, "problem-sync-too-many", r.Body)
	h.Problem(r, 413, "too-many-pairs")
}

func TestSingleCall(t *testing.T) {
	h := start(t, nil)
	sig := signature(65)
	get := func(site, hash, sig string) ingesttest.Reply {
		return h.Do("GET", "/api/v1/sign/"+site+"?hash="+hash+"&sig="+sig, nil)
	}
	r := get(site, hashText(7), sig)
	if r.Status != 200 || r.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%d %v", r.Status, r.Header)
	}
	golden(t, "single-signed", r.Body)
	golden(t, "single-duplicate", get(site, hashText(7), sig).Body)
	for _, bad := range []string{"AAAA", "no*base64", "%20", "~~~", ""} {
		r = get(site, hashText(8), bad)
		golden(t, "single-invalid", r.Body)
		if r.Status != 200 {
			t.Errorf("signature %q: %d", bad, r.Status)
		}
		if link := r.Header.Get("Link"); link != `<../../../problems/invalid-signature>; rel="help"` {
			t.Errorf("signature %q: Link: %s", bad, link)
		}
	}
	// The hash as sent is what was signed; what is compared are its bytes.
	golden(t, "single-upper", get(site, strings.ToUpper(hashText(0xabc)), sig).Body)
	golden(t, "single-upper-duplicate", get(site, hashText(0xabc), sig).Body)
	// Standard letters too: percent-encoded, or with a plus sign that arrives as a space.
	standard := strings.NewReplacer("-", "+", "_", "=", "~", "/").Replace(sig)
	want := "signed OK " + site + " " + hashText(9) + " " + standard
	if r := get(site, hashText(9), standard); r.Body != want {
		t.Errorf("standard letters: %q", r.Body)
	}
	escaped := strings.NewReplacer("+", "%2B", "=", "%3D", "/", "%2F").Replace(standard)
	if r := get(site, hashText(10), escaped); !strings.HasPrefix(r.Body, "signed OK ") {
		t.Errorf("percent-encoded: %q", r.Body)
	}

	golden(t, "problem-certificate", get("nocert.example", hashText(11), sig).Body)
	h.Problem(get("nocert.example", hashText(11), sig), 502, "certificate-unavailable")
	golden(t, "problem-single-hash", get(site, "C0FFEE", sig).Body)
	h.Problem(get(site, "C0FFEE", sig), 400, "invalid-parameter")
	h.Problem(get(site, "", sig), 400, "invalid-parameter")
	h.Problem(h.Do("GET", "/api/v1/sign/"+site+"?hash="+hashText(1), nil), 400, "invalid-parameter")
	h.Problem(h.Do("GET", "/api/v1/sign/"+site, nil), 400, "invalid-parameter")
	h.Problem(get(site, hashText(1)+"&hash="+hashText(2), sig), 400, "invalid-parameter")
	h.Problem(get(site, hashText(1), sig+"&sig="+sig), 400, "invalid-parameter")
}

func TestCertificateUnavailableInLists(t *testing.T) {
	h := start(t, nil)
	id := h.upload("nocert.example", pairs(0, 2, 64))
	if s := h.done(id); s["errorHash"] != 2 {
		t.Error(s)
	}
	golden(t, "details-nocert", h.Do("GET", "/api/v1/resultasync/"+id+"/1", nil).Body)
}

func TestHowBodiesArrive(t *testing.T) {
	plain := string(ingesttest.RandomPairs(0, 1500, 64))
	spaced := strings.NewReplacer(",", " ,\r\n\t", "[", " [\n ", "]", "\t ] ").Replace(plain)
	coding := func(name string) []string { return []string{"Content-Encoding", name} }
	expect := []string{"Expect", "100-continue"}
	chunked := func(body string) ingesttest.Chunked { return ingesttest.Chunked{Reader: strings.NewReader(body)} }
	gzipped, zstandard := ingesttest.Gzipped(plain), ingesttest.Zstandard(plain)
	members := append(ingesttest.Gzipped(plain[:1000]), ingesttest.Gzipped(plain[1000:])...)
	for _, c := range []struct {
		name    string
		body    any
		headers []string
	}{
		{"plain", plain, nil},
		{"form type of curl -d", plain, []string{"Content-Type", "application/x-www-form-urlencoded"}},
		{"multipart type", plain, []string{"Content-Type", "multipart/form-data; boundary=x"}},
		{"white space everywhere", spaced, nil},
		{"byte-order mark", "\xef\xbb\xbf" + plain, nil},
		{"chunked", chunked(plain), nil},
		{"expect", plain, expect},
		{"chunked and expect", chunked(plain), expect},
		{"gzip", gzipped, coding("gzip")},
		{"x-gzip, two members", members, coding("x-gzip")},
		{"zstd", zstandard, coding("zstd")},
		{"zstd chunked", chunked(string(zstandard)), coding("zstd")},
		{"identity", plain, coding("identity")},
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
	plain := pairs(0, 40, 64)
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
	id := h.upload(site, pairs(0, 5000, 8))
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
	for _, batch := range []string{"1", "2"} {
		if r := h.Do("GET", "/api/v1/resultasync/"+id+"/"+batch, nil); r.Status != 200 {
			t.Errorf("batch %s: %d", batch, r.Status)
		}
	}
	for _, batch := range []string{"3", "4", "5", "6", "0", "-1", "x", "1.0", "99999999999"} {
		h.Problem(h.Do("GET", "/api/v1/resultasync/"+id+"/"+batch, nil), 404, "unknown-batch")
	}
	golden(t, "problem-unknown-batch", h.Do("GET", "/api/v1/resultasync/"+id+"/3", nil).Body)
}

func TestUnknownUploads(t *testing.T) {
	h := start(t, nil)
	golden(t, "problem-unknown-upload", h.Do("GET", "/api/v1/resultasync/06b0ac02-bb62-4052-b48b-d875e26561f8", nil).Body)
	id := h.upload(site, pairs(0, 1, 8))
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
	h.done(h.upload(site, pairs(0, 2, 8)))
	golden(t, "hash", h.Do("GET", "/api/v1/hash/"+strings.ToUpper(hashText(1)), nil).Body)
	golden(t, "problem-unknown-hash", h.Do("GET", "/api/v1/hash/"+hashText(2), nil).Body)
	h.Problem(h.Do("GET", "/api/v1/hash/abc", nil), 400, "invalid-parameter")
}

// Who holds a file learns of every site that signed it: the first hundred, with a count.
func TestWhoElseSigned(t *testing.T) {
	h := start(t, func(c *Config) { c.Random = &counter{} })
	h.done(h.upload(site, pairs(0, 2, 8)))
	h.store.With(func(s *ingesttest.Store) {
		at := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC).UnixMilli()
		s.Also[[32]byte{31: 2}] = store.CoSigners{Count: 102, First: []store.SignedHash{
			{Site: "mirror.example", SignedAt: at, Algorithm: "RSA-PKCS1-SHA256", Signature: []byte("one"), Certificate: [32]byte{1}, Case: store.UpperCase},
			{Site: "publisher.example", SignedAt: at + 1, Algorithm: "ECDSA-P256-SHA256", Signature: []byte("two"), Certificate: [32]byte{2}},
		}}
	})
	golden(t, "hash-cosigned", h.Do("GET", "/api/v1/hash/"+hashText(1), nil).Body)
	if body := h.Do("GET", "/api/v1/hash/"+hashText(0), nil).Body; strings.Contains(body, "alsoSigned") {
		t.Errorf("a hash that nobody else signed: %s", body)
	}
}
