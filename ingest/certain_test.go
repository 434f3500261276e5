package ingest

// What callers are told is true at every process, and the log's health is known before an upload meets it.

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"countersign/ingest/internal/ingesttest"
	"countersign/ingest/results"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

// Every process is told of an accepted upload before the answer leaves. That it can't be told fails no upload.
func TestAcceptanceIsTold(t *testing.T) {
	h := start(t, nil)
	var told []*recordpb.Accepted // guarded by the log's mu
	h.log.with(func(l *fakeLog) {
		l.followers = append(l.followers, func(value []byte) {
			m, err := record.DecodeEvents(value)
			if err != nil {
				t.Error(err)
			}
			told = append(told, m.GetAccepted()...)
		})
	})
	id := h.upload(site, pairs(0, 2500, 8), "Idempotency-Key", "k")
	check := func(want int) {
		t.Helper()
		h.log.with(func(*fakeLog) {
			if len(told) != want || uuid.UUID(told[0].GetUpload()).String() != id || told[0].GetCount() != 2500 {
				t.Errorf("told of %v", told)
			}
		})
	}
	check(1)
	if again := h.upload(site, pairs(0, 2500, 8), "Idempotency-Key", "k"); again != id {
		t.Error(again)
	}
	check(1)
	h.log.with(func(l *fakeLog) { l.mute = true })
	h.upload(site, pairs(5000, 10, 8))
	check(1)
}

// The UUID of an upload of which nobody knows whether it was accepted is not said to be unknown before that is certain.
func TestOutcomeUnknownUntilItIsKnown(t *testing.T) {
	for name, stored := range map[string]bool{"it was not stored": false, "it was stored": true} {
		t.Run(name, func(t *testing.T) {
			h := start(t, func(c *Config) { c.StoreTimeout = 300 * time.Millisecond })
			behind := make(chan struct{})
			lost := func(m *recordpb.Upload) error {
				if isSeal(m) {
					return errUnknown
				}
				return nil
			}
			h.log.with(func(l *fakeLog) {
				l.behind, l.lag, l.sinks, l.quiet = behind, behind, true, true
				if stored {
					l.lose = lost
				} else {
					l.refuse = lost
				}
			})
			p := h.Problem(h.Do("POST", "/api/v1/asyncsign/"+site, pairs(0, 10, 8)), 503, "outcome-unknown")
			path := "/api/v1/resultasync/" + p["uuid"].(string)
			r := h.Do("GET", path, nil)
			if h.Problem(r, 503, "not-known-yet"); r.Header.Get("Retry-After") == "" {
				t.Error(r.Header)
			}
			close(behind)
			if !stored {
				h.Problem(h.Do("GET", path, nil), 404, "unknown-upload")
				return
			}
			ingesttest.Until(t, "its status is told", func() bool { // the fake's stages may still be at it
				return h.Do("GET", path, nil).Status == 200
			})
		})
	}
}

// A hash is not said to be unknown while it may have been signed at another process.
func TestHashIsNotUnknownWhileEventsLag(t *testing.T) {
	h := start(t, func(c *Config) { c.StoreTimeout = 300 * time.Millisecond })
	behind := make(chan struct{})
	h.log.with(func(l *fakeLog) { l.behind = behind })
	r := h.Do("GET", "/api/v1/hash/"+hashText(1), nil)
	if h.Problem(r, 503, "not-known-yet"); r.Header.Get("Retry-After") == "" {
		t.Error(r.Header)
	}
	close(behind)
	h.Problem(h.Do("GET", "/api/v1/hash/"+hashText(1), nil), 404, "unknown-hash")
}

// A batch of which another process has told that it is done is given, although this one's status is a moment old.
func TestDetailsOfABatchThatIsDoneByNow(t *testing.T) {
	h := start(t, nil)
	id := uuid.New()
	h.store.With(func(s *ingesttest.Store) {
		s.Rows[id] = store.Upload{ID: id, Site: site, Count: 1, AcceptedAt: h.clock.Now().UnixMilli()}
	})
	path := "/api/v1/resultasync/" + id.String()
	if r := h.Do("GET", path, nil); r.Status != 200 || !strings.Contains(r.Body, `"waitingBatch":1`) {
		t.Fatal(r)
	}
	h.Problem(h.Do("GET", path+"/1", nil), 404, "unknown-batch")
	h.store.With(func(s *ingesttest.Store) {
		s.Results[id] = []store.BatchResult{{Done: true, Added: []string{hashText(1)}}}
	})
	if r := h.Do("GET", path+"/1", nil); r.Status != 200 {
		t.Error(r)
	}
	h.Problem(h.Do("GET", path+"/2", nil), 404, "unknown-batch")
}

// While the log can't be written, uploads are refused at once, and the server says that it is not ready and why.
func TestUploadsAreRefusedWhileTheLogIsNotReady(t *testing.T) {
	h := start(t, nil)
	ingesttest.Until(t, "the server is ready", func() bool { return len(h.NotReady()) == 0 })
	h.log.with(func(l *fakeLog) { l.unready = errors.New("two in-sync replicas are missing") })
	ingesttest.Until(t, "uploads are refused", func() bool {
		return h.Do("POST", "/api/v1/asyncsign/"+site, "[]").Status == 503
	})
	h.Problem(h.Do("POST", "/api/v1/asyncsign/"+site, "[]"), 503, "log-unavailable")
	h.Problem(h.sign(site, 1), 503, "log-unavailable")
	if reasons := h.NotReady(); len(reasons) != 1 || reasons[0] != "log: two in-sync replicas are missing" {
		t.Error(reasons)
	}
	for _, c := range h.Checks() {
		if err := c.Probe(t.Context()); (err != nil) != (c.Name == "log") {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
	h.log.with(func(l *fakeLog) { l.unready = nil })
	ingesttest.Until(t, "uploads are accepted", func() bool {
		return h.Do("POST", "/api/v1/asyncsign/"+site, "[]").Status == 200
	})
}

// What /readyz shows of the log counts for uploads at once, before the server has noticed by itself.
func TestUploadsAreRefusedWhileTheProcessIsNotReady(t *testing.T) {
	var away atomic.Bool
	h := start(t, func(c *Config) {
		c.NotReady = func(checks ...string) []string {
			if away.Load() && slices.Contains(checks, checkLog) {
				return []string{"log: no broker answers"}
			}
			return nil
		}
	})
	if r := h.Do("POST", "/api/v1/asyncsign/"+site, "[]"); r.Status != 200 {
		t.Error(r)
	}
	away.Store(true)
	h.Problem(h.Do("POST", "/api/v1/asyncsign/"+site, "[]"), 503, "log-unavailable")
	h.Problem(h.sign(site, 1), 503, "log-unavailable")
}

// More than may wait get 503 with Retry-After.
func TestBusyReads(t *testing.T) {
	p := unanswered("x", errors.Join(results.ErrBusy))
	if p.Status != 503 || p.Kind != "busy" || p.RetryAfter == 0 || p.Limit != results.MaxWaiting {
		t.Errorf("%+v", p)
	}
}
