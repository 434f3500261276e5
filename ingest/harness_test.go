package ingest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	// fasthttp's clock for Date headers runs for the life of the process, its cleaner of idle workers some seconds longer than Serve.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// harness is a server on loopback over a fake log and store.
type harness struct {
	*Server
	t     testing.TB
	log   *fakeLog
	store *fakeStore
	clock *fakeClock
	http  *http.Client
	addr  string
	url   string
}

type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// counter makes identifiers repeatable: 16 bytes each, counting up.
type counter struct {
	mu sync.Mutex
	n  byte
}

func (c *counter) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	for i := range p {
		p[i] = c.n
	}
	return len(p), nil
}

func testConfig(log *fakeLog, clock *fakeClock) Config {
	return Config{
		Log: log, Store: log.store, UploadPartitions: 4, Clock: clock.Now, SyncPoll: 40 * time.Millisecond, HTTP: HTTPConfig{LingerTimeout: 2 * time.Second},
		Logger: slog.New(slog.NewTextHandler(log.t.Output(), nil)),
	}
}

// start starts a server; change may be nil.
func start(t testing.TB, change func(*Config)) *harness {
	t.Helper()
	log := newFakeLog(t)
	clock := &fakeClock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	cfg := testConfig(log, clock)
	if change != nil {
		change(&cfg) // cfg.Log is log, for its faults from the start
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true}
	h := &harness{Server: s, t: t, log: log, store: log.store, clock: clock, http: &http.Client{Transport: transport, Timeout: 30 * time.Second}, addr: l.Addr().String()}
	h.url = "http://" + h.addr
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	for !s.http.Serving() || !s.results.Following() && !log.deaf {
		time.Sleep(time.Millisecond)
	}
	return h
}

// reply is an HTTP reply, whole.
type reply struct {
	status int
	header http.Header
	body   string
	closed bool // the server said that it closes the connection
}

// do sends one request. body may be nil, a string, bytes or a reader; headers come in pairs.
func (h *harness) do(method, path string, body any, headers ...string) reply {
	h.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case string:
		r = strings.NewReader(b)
	case []byte:
		r = bytes.NewReader(b)
	case io.Reader:
		r = b
	}
	req, err := http.NewRequest(method, h.url+path, r)
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := h.http.Do(req)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	return reply{res.StatusCode, res.Header, string(text), res.Close}
}

// problem checks that a reply is a problem of the given kind and returns its members.
func (h *harness) problem(r reply, status int, kind string) map[string]any {
	h.t.Helper()
	var p map[string]any
	if r.header.Get("Content-Type") != "application/problem+json" || json.Unmarshal([]byte(r.body), &p) != nil {
		h.t.Fatalf("want a problem, got %d %s: %s", r.status, r.header.Get("Content-Type"), r.body)
	}
	if r.status != status || p["type"] != "/problems/"+kind || p["status"] != float64(status) {
		h.t.Fatalf("want %d %s, got %d %s", status, kind, r.status, r.body)
	}
	if detail, _ := p["detail"].(string); !strings.HasSuffix(detail, ".") {
		h.t.Errorf("the detail is no sentence: %q", detail)
	}
	return p
}

// upload posts a body to the bulk call and returns the UUID of the answer.
func (h *harness) upload(site string, body any, headers ...string) string {
	h.t.Helper()
	r := h.do("POST", "/api/v1/asyncsign/"+site, body, headers...)
	var answer struct{ UUID, Batches, Hashes string }
	if r.status != 200 || json.Unmarshal([]byte(r.body), &answer) != nil || answer.UUID == "" {
		h.t.Fatalf("upload: %d %s", r.status, r.body)
	}
	return answer.UUID
}

// status polls an upload until it is done.
func (h *harness) done(id string) map[string]int {
	h.t.Helper()
	for range 500 {
		r := h.do("GET", "/api/v1/resultasync/"+id, nil)
		var s map[string]int
		if r.status != 200 || json.Unmarshal([]byte(r.body), &s) != nil {
			h.t.Fatalf("poll: %d %s", r.status, r.body)
		}
		if s["waitingBatch"] == 0 {
			return s
		}
		time.Sleep(5 * time.Millisecond)
	}
	h.t.Fatal("the upload is never done")
	return nil
}

// nothingKept checks that the log has no seal, and no row exists (I2).
func (h *harness) nothingKept() {
	h.t.Helper()
	_, seals, _ := h.log.count()
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	if seals != 0 || len(h.store.uploads) != 0 || len(h.store.hashes) != 0 {
		h.t.Errorf("a rejected upload left %d seals, %d uploads, %d hashes behind", seals, len(h.store.uploads), len(h.store.hashes))
	}
}

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test ./ingest -update writes it anew)\n got: %q\nwant: %q", file, got, want)
	}
}

// Pairs for bodies.

// hashText is the i-th hash, in hex.
func hashText(i int) string {
	return fmt.Sprintf("%064x", i+1)
}

// signature returns a signature of n bytes that the fake takes for good, in the contract's letters.
func signature(n int) string {
	b := bytes.Repeat([]byte{0xfb, 0xff}, n/2+1)[:n]
	b[0] = 'g'
	return strings.NewReplacer("+", "-", "=", "_", "/", "~").Replace(base64.StdEncoding.EncodeToString(b))
}

// body returns a list of n good pairs, from hash i on.
func body(i, n, signatureBytes int) []byte {
	sig := signature(signatureBytes)
	b := append(make([]byte, 0, n*(80+len(sig))+2), '[')
	var hash [32]byte
	for k := range n {
		if k > 0 {
			b = append(b, ',')
		}
		v := i + k + 1
		for j := range 8 {
			hash[31-j] = byte(v >> (8 * j))
		}
		b = append(b, `["`...)
		b = hex.AppendEncode(b, hash[:])
		b = append(b, `","`...)
		b = append(b, sig...)
		b = append(b, `"]`...)
	}
	return append(b, ']')
}
