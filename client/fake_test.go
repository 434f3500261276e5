package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seen is a request as the fake service got it.
type seen struct {
	method, uri string
	header      http.Header
	length      int64
	body        string
	broken      error // reading the body failed
}

// fake is a service that records requests and answers them one by one with the given answers, the
// last one over and over.
type fake struct {
	*httptest.Server
	mu      sync.Mutex
	seen    []seen
	answers []http.HandlerFunc
}

func newFake(t *testing.T, answers ...http.HandlerFunc) *fake {
	f := &fake{answers: answers}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	i := len(f.seen)
	f.seen = append(f.seen, seen{method: r.Method, uri: r.RequestURI, header: r.Header, length: r.ContentLength})
	answer := f.answers[min(i, len(f.answers)-1)]
	f.mu.Unlock()
	answer(&readFirst{w, func() {
		body, err := io.ReadAll(r.Body)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.seen[i].body, f.seen[i].broken = string(body), err
	}}, r)
}

// readFirst reads the request before the first byte of the answer, unless early takes it off.
type readFirst struct {
	http.ResponseWriter
	read func()
}

func (w *readFirst) WriteHeader(status int) {
	w.read()
	w.ResponseWriter.WriteHeader(status)
}

// requests returns what came so far.
func (f *fake) requests() []seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]seen(nil), f.seen...)
}

// early answers without reading the body.
func early(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { h(w.(*readFirst).ResponseWriter, r) }
}

func ok(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		io.WriteString(w, body)
	}
}

// problem answers with a problem document; header is pairs of names and values.
func problem(status int, members string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"type":"/problems/test","title":"Test","status":%d,"detail":"try it otherwise"%s}`, status, members)
	}
}

// hangUp reads the request and breaks the connection instead of answering.
func hangUp(w http.ResponseWriter, r *http.Request) {
	w.(*readFirst).read()
	panic(http.ErrAbortHandler)
}

const (
	testID  = "06b0ac02-bb62-4052-b48b-d875e26561f8"
	receipt = `{ "UUID" : "` + testID + `", "Batches" : "3", "Hashes" : "2345" }`
)

// newTestClient makes a client that does not wait, and notes how long it would have waited.
func newTestClient(t *testing.T, url string, opts ...Option) (*Client, *[]time.Duration) {
	t.Helper()
	c, err := New(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	waits := new([]time.Duration)
	c.jitter = func() float64 { return 0 }
	c.sleep = func(ctx context.Context, d time.Duration) error {
		*waits = append(*waits, d)
		return ctx.Err()
	}
	return c, waits
}

func testPairs(n int) []Pair {
	pairs := make([]Pair, n)
	for i := range pairs {
		pairs[i].Hash[0], pairs[i].Hash[31] = byte(i), byte(i>>8)
		pairs[i].Signature = []byte{0xfb, 0xff, byte(i)}[:i%4%3+1]
	}
	return pairs
}

// checkBody holds a body against the pairs that it should have.
func checkBody(t interface{ Fatalf(string, ...any) }, body string, pairs []Pair) {
	var got [][2]string
	if err := json.Unmarshal([]byte(body), &got); err != nil || got == nil || len(got) != len(pairs) {
		t.Fatalf("%d pairs, error %v, want %d, in %.200s", len(got), err, len(pairs), body)
	}
	for i, p := range pairs {
		if want := [2]string{fmt.Sprintf("%x", p.Hash), EncodeSignature(p.Signature)}; got[i] != want {
			t.Fatalf("pair %d is %q, want %q", i, got[i], want)
		}
	}
}
