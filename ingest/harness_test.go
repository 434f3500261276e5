package ingest

import (
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/ingest/internal/ingesttest"
	"countersign/ingest/server"
	"countersign/internal/health"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { ingesttest.Main(m) }

// harness is a server on loopback over a log and a store in memory.
type harness struct {
	*Server
	*ingesttest.Client
	t     testing.TB
	log   *fakeLog
	store *ingesttest.Store
	clock *fakeClock
	board *health.Board // as the process has one
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

// firstUpload is the UUID of the first upload whose server reads a counter.
const firstUpload = "02020202-0202-4202-8202-020202020202"

// start starts a server; change may be nil. It is shut down when the test ends.
func start(t testing.TB, change func(*Config)) *harness {
	t.Helper()
	log := newFakeLog(t)
	clock := &fakeClock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	cfg := Config{
		Log: log, Store: log.store, UploadPartitions: 4, Clock: clock.Now,
		SyncPoll: 40 * time.Millisecond, SyncTimeout: ingesttest.MaxWait,
		HTTP:   server.Config{LingerTimeout: 2 * time.Second},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	var board *health.Board
	cfg.Failing = func(check string) error { return board.Failing(check) }
	if change != nil {
		change(&cfg) // cfg.Log is log, for its faults from the start
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	checks := append([]health.Check{{Name: checkLog, Probe: log.check}}, s.Checks()...)
	board = health.New(health.Config{Checks: checks, Every: 50 * time.Millisecond})
	h := &harness{Server: s, Client: ingesttest.Serve(t, s), t: t, log: log, store: log.store, clock: clock, board: board}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { board.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	ingesttest.Until(t, "the server follows the log and its health is known", func() bool {
		return !slices.ContainsFunc(board.Reasons(), func(reason string) bool {
			return strings.HasSuffix(reason, "not asked yet") || strings.HasPrefix(reason, "api: ") ||
				strings.HasPrefix(reason, "events: ") && !log.deaf
		})
	})
	return h
}

// NotReady is what readiness says.
func (h *harness) NotReady() []string { return h.board.Reasons() }

// upload posts a body to the bulk call and returns the UUID of the answer.
func (h *harness) upload(site string, body any, headers ...string) string {
	h.t.Helper()
	r := h.Do("POST", "/api/v1/asyncsign/"+site, body, headers...)
	var answer struct{ UUID, Batches, Hashes string }
	if r.Status != 200 || json.Unmarshal([]byte(r.Body), &answer) != nil || answer.UUID == "" {
		h.t.Fatalf("upload: %d %s", r.Status, r.Body)
	}
	return answer.UUID
}

// sign asks for one good signature of hash i.
func (h *harness) sign(site string, i int, headers ...string) ingesttest.Reply {
	h.t.Helper()
	path := "/api/v1/sign/" + site + "?hash=" + hashText(i) + "&sig=" + signature(8)
	return h.Do("GET", path, nil, headers...)
}

// done polls an upload until it is complete and returns its status.
func (h *harness) done(id string) (status map[string]int) {
	h.t.Helper()
	ingesttest.Until(h.t, "the upload is complete", func() bool {
		status = nil
		r := h.Do("GET", "/api/v1/resultasync/"+id, nil)
		if r.Status != 200 || json.Unmarshal([]byte(r.Body), &status) != nil {
			h.t.Fatalf("poll: %d %s", r.Status, r.Body)
		}
		return status["waitingBatch"] == 0
	})
	return status
}

// nothingKept checks that the log has no seal, and no row exists (I2).
func (h *harness) nothingKept() {
	h.t.Helper()
	_, seals, _ := h.log.count()
	h.store.With(func(s *ingesttest.Store) {
		if seals != 0 || len(s.Rows) != 0 || len(s.Signed) != 0 {
			h.t.Errorf("a rejected upload left %d seals, %d uploads, %d hashes behind",
				seals, len(s.Rows), len(s.Signed))
		}
	})
}

// Short names for what nearly every test sends.
var (
	hashText  = ingesttest.HashText
	signature = ingesttest.Signature
	pair      = ingesttest.Pair
	pairs     = ingesttest.Pairs
)

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
