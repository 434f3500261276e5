package ingest

// The calls that wait for their result.

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"countersign/ingest/admission"
	"countersign/ingest/internal/ingesttest"
)

func parseID(t *testing.T, text string) uuid.UUID {
	t.Helper()
	id, err := uuid.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestSingleIsOneRecord(t *testing.T) {
	h := start(t, nil)
	h.Do("GET", "/api/v1/sign/"+site+"?hash="+hashText(0)+"&sig="+signature(1024), nil)
	if len(h.log.records) != 1 || h.log.records[0].GetChunk().GetSeal() == nil {
		t.Errorf("records %v", h.log.records)
	}
	if h.log.records[0].GetChunk().GetSeal().GetAcceptedMs() != h.clock.Now().UnixMilli() {
		t.Error("the seal is not dated by the clock")
	}
}

func TestEventsMissing(t *testing.T) {
	h := start(t, nil)
	h.log.with(func(l *fakeLog) { l.quiet = true })
	if r := h.sign(site, 0); r.Body[:9] != "signed OK" {
		t.Error(r)
	}
	h.Problem(h.sign("nocert.example", 0), 502, "certificate-unavailable")
	if r := h.Do("POST", "/api/v1/sign/"+site, pairs(10, 2500, 8)); r.Status != 200 {
		t.Error(r)
	}
}

func TestEventsThatCanNotBeFollowedYet(t *testing.T) {
	h := start(t, func(c *Config) { c.Log.(*fakeLog).deaf = true })
	if len(h.NotReady()) != 1 {
		t.Errorf("not ready: %q", h.NotReady())
	}
	if r := h.sign(site, 0); r.Status != 200 { // the store is asked
		t.Error(r)
	}
	h.log.with(func(l *fakeLog) { l.deaf = false })
	ingesttest.Until(t, "events are followed", func() bool { return len(h.NotReady()) == 0 })
}

func TestStoreAwayWhileACallWaits(t *testing.T) {
	h := start(t, nil)
	for i, quiet := range []bool{false, true} { // events bring the result, or the store has to
		h.log.with(func(l *fakeLog) { l.quiet = quiet })
		h.store.With(func(s *ingesttest.Store) { s.Failures = 3 })
		if r := h.Do("POST", "/api/v1/sign/"+site, pairs(3*i, 3, 8)); r.Status != 200 {
			t.Error(r)
		}
		h.store.With(func(s *ingesttest.Store) {
			if s.Failures != 0 {
				t.Error("the store was not asked again")
			}
		})
	}
}

func TestStopWhileACallWaits(t *testing.T) {
	h := start(t, func(c *Config) { c.HTTP.DrainTimeout = 50 * time.Millisecond })
	text := pairsThatWait(h)
	answered := make(chan ingesttest.Reply, 1)
	go func() { answered <- h.Do("POST", "/api/v1/sign/"+site, text) }()
	ingesttest.Until(t, "the seal is written", func() bool { _, seals, _ := h.log.count(); return seals > 0 })
	if err := h.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if p := h.Problem(<-answered, 504, "not-finished"); p["uuid"] == nil {
		t.Error(p)
	}
}

func TestNotFinishedInTime(t *testing.T) {
	lag := make(chan struct{})
	h := start(t, func(c *Config) { c.SyncTimeout, c.Random = 100*time.Millisecond, &counter{} })
	h.log.with(func(l *fakeLog) { l.lag = lag })
	r := h.sign(site, 0)
	golden(t, "problem-not-finished", r.Body)
	p := h.Problem(r, 504, "not-finished")
	close(lag)
	if s := h.done(p["uuid"].(string)); s["okHash"] != 1 { // as the reply said
		t.Error(s)
	}
	h.Problem(h.Do("POST", "/api/v1/sign/"+site, pairsThatWait(h)), 504, "not-finished")
	if n := h.admission.Calls.Held() + h.admission.Uploads.Held(); n != 0 {
		t.Errorf("%d places are still occupied", n)
	}
}

func pairsThatWait(h *harness) []byte {
	lag := make(chan struct{})
	h.t.Cleanup(func() { close(lag) })
	h.log.with(func(l *fakeLog) { l.lag = lag })
	return pairs(10, 3, 8)
}

func TestManySingleCallsAtOnce(t *testing.T) {
	h := start(t, nil)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			r := h.sign(site, i/2)
			if r.Status != 200 {
				t.Error(r)
			}
		})
	}
	wg.Wait()
	h.store.With(func(s *ingesttest.Store) {
		if len(s.Signed) != 100 {
			t.Errorf("%d hashes", len(s.Signed))
		}
	})
	if n := h.admission.Calls.Held(); n != 0 {
		t.Errorf("%d places are still occupied", n)
	}
}

func TestTooManySyncCalls(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxSync = 1 })
	place, err := h.admission.Calls.Enter(t.Context(), admission.Who{})
	if err != nil {
		t.Fatal(err)
	}
	h.Problem(h.sign(site, 0), 503, "busy")
	h.Problem(h.Do("POST", "/api/v1/sign/"+site, "[]"), 503, "busy")
	if h.admission.Uploads.Held() != 0 {
		t.Error("a refused call keeps the place of its body")
	}
	place.Release()
	if r := h.Do("POST", "/api/v1/sign/"+site, "[]"); r.Status != 200 {
		t.Error(r)
	}
}

func TestIdempotencyKey(t *testing.T) {
	h := start(t, nil)
	text := ingesttest.RandomPairs(0, 2500, 64)
	id := h.upload(site, text, "Idempotency-Key", "one")
	if parseID(t, id).Version() != 8 {
		t.Errorf("UUID %s", id)
	}
	if s := h.done(id); s["okHash"] != 2500 {
		t.Error(s)
	}
	for range 3 { // a retry: the same answer, and no duplicates
		again := h.upload(site, ingesttest.Chunked{Reader: bytes.NewReader(text)}, "Idempotency-Key", "one")
		if again != id {
			t.Errorf("%s, then %s", id, again)
		}
	}
	compressed := ingesttest.Gzipped(string(text))
	if again := h.upload(site, compressed, "Idempotency-Key", "one", "Content-Encoding", "gzip"); again != id {
		t.Error("the coding changed the upload")
	}
	_, seals, aborts := h.log.count()
	if seals != 1 || aborts != 4 {
		t.Errorf("%d seals, %d aborts", seals, aborts)
	}
	if s := h.done(id); s["okHash"] != 2500 || s["dupHash"] != 0 {
		t.Error(s)
	}
	seen := map[string]bool{id: true}
	for name, other := range map[string]string{
		"another key":  h.upload(site, text, "Idempotency-Key", "two"),
		"another site": h.upload("b.example", text, "Idempotency-Key", "one"),
		"another body": h.upload(site, append(text, ' '), "Idempotency-Key", "one"),
		"no key":       h.upload(site, text),
	} {
		if seen[other] {
			t.Errorf("%s: the same upload", name)
		}
		seen[other] = true
	}
	h.clock.advance(49 * time.Hour)
	h.Problem(h.Do("GET", "/api/v1/resultasync/"+id, nil), 404, "unknown-upload")
	later := h.upload(site, text, "Idempotency-Key", "one")
	if seen[later] {
		t.Error("the UUID of an upload whose results are gone was given out again: it can't be asked for")
	}
	if s := h.done(later); s["dupHash"] != 2500 {
		t.Error(s)
	}
	if again := h.upload(site, text, "Idempotency-Key", "one"); again != later {
		t.Error("a key that was used long ago makes no upload repeatable")
	}
}

func TestIdempotencyKeySyntax(t *testing.T) {
	h := start(t, nil)
	for _, key := range []string{"", "two words", "caf\u00e9", fmt.Sprintf("%0256d", 1)} {
		h.Problem(h.Do("POST", "/api/v1/asyncsign/"+site, "[]", "Idempotency-Key", key), 400, "invalid-idempotency-key")
	}
	r := h.Do("POST", "/api/v1/asyncsign/"+site, "[]", "Idempotency-Key", "a", "Idempotency-Key", "b")
	h.Problem(r, 400, "invalid-idempotency-key")
	h.upload(site, "[]", "Idempotency-Key", fmt.Sprintf("%0255d", 1))
}

func TestIdempotencyKeyInFlightTwice(t *testing.T) {
	h := start(t, func(c *Config) { c.RecordWait = time.Millisecond })
	text := pairs(0, 2500, 64)
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() { ids[i] = h.upload(site, text, "Idempotency-Key", "one") })
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("uploads %s and %s", ids[0], id)
		}
	}
	h.log.with(func(l *fakeLog) {
		for _, p := range l.place {
			if p != l.place[0] {
				t.Fatal("attempts with one key are in several partitions")
			}
		}
	})
	if s := h.done(ids[0]); s["okHash"] != 2500 {
		t.Error(s)
	}
}

func TestIdempotencyKeyWithoutStore(t *testing.T) {
	h := start(t, func(c *Config) { c.RecordWait = time.Millisecond })
	id := h.upload(site, pairs(0, 10, 8), "Idempotency-Key", "one")
	h.done(id)
	ingesttest.Until(t, "the row is stored", func() bool { return h.results.Unrecorded() == 0 })
	h.store.With(func(s *ingesttest.Store) { s.Away = true })
	if again := h.upload(site, pairs(0, 10, 8), "Idempotency-Key", "one"); again != id {
		t.Errorf("%s, then %s", id, again)
	}
	h.store.With(func(s *ingesttest.Store) { s.Away = false })
	if s := h.done(id); s["okHash"] != 10 {
		t.Error(s)
	}
}

func TestSyncCallsTakeKeys(t *testing.T) {
	h := start(t, nil)
	h.log.with(func(l *fakeLog) { l.sinks = true })
	get := func() ingesttest.Reply {
		return h.sign(site, 0, "Idempotency-Key", "k")
	}
	post := func() ingesttest.Reply {
		return h.Do("POST", "/api/v1/sign/"+site, pairs(10, 1500, 8), "Idempotency-Key", "k")
	}
	single, list := get(), post()
	for range 2 {
		if r := get(); r.Body != single.Body || r.Status != 200 {
			t.Errorf("%q, then %q", single.Body, r.Body)
		}
		if r := post(); r.Body != list.Body {
			t.Error("the list changed")
		}
	}
	if _, seals, _ := h.log.count(); seals != 2 {
		t.Errorf("%d seals", seals)
	}
}
