package ingest

// The calls that wait for their result.

import (
	"bytes"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"countersign/internal/fifo"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
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
	h.do("GET", "/api/v1/sign/"+site+"?hash="+hashText(0)+"&sig="+signature(1024), nil)
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
	if r := h.do("GET", "/api/v1/sign/"+site+"?hash="+hashText(0)+"&sig="+signature(8), nil); r.body[:9] != "signed OK" {
		t.Error(r)
	}
	h.problem(h.do("GET", "/api/v1/sign/nocert.example?hash="+hashText(0)+"&sig="+signature(8), nil), 502, "certificate-unavailable")
	if r := h.do("POST", "/api/v1/sign/"+site, body(10, 2500, 8)); r.status != 200 {
		t.Error(r)
	}
}

func TestEventsThatCanNotBeFollowedYet(t *testing.T) {
	h := start(t, func(c *Config) { c.Log.(*fakeLog).deaf = true })
	if len(h.NotReady()) != 1 {
		t.Errorf("not ready: %q", h.NotReady())
	}
	if r := h.do("GET", "/api/v1/sign/"+site+"?hash="+hashText(0)+"&sig="+signature(8), nil); r.status != 200 { // the store is asked
		t.Error(r)
	}
	h.log.with(func(l *fakeLog) { l.deaf = false })
	for range 1000 {
		if len(h.NotReady()) == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("not ready: %q", h.NotReady())
}

func TestStoreAwayWhileACallWaits(t *testing.T) {
	h := start(t, nil)
	h.store.with(func(s *fakeStore) { s.away = true })
	time.AfterFunc(150*time.Millisecond, func() { h.store.with(func(s *fakeStore) { s.away = false }) })
	if r := h.do("POST", "/api/v1/sign/"+site, body(0, 3, 8)); r.status != 200 {
		t.Error(r)
	}
	h.log.with(func(l *fakeLog) { l.quiet = true })
	h.store.with(func(s *fakeStore) { s.away = true })
	time.AfterFunc(150*time.Millisecond, func() { h.store.with(func(s *fakeStore) { s.away = false }) })
	if r := h.do("POST", "/api/v1/sign/"+site, body(0, 3, 8)); r.status != 200 {
		t.Error(r)
	}
}

func TestStopWhileACallWaits(t *testing.T) {
	h := start(t, func(c *Config) { c.HTTP.DrainTimeout = 50 * time.Millisecond })
	text := pairsThatWait(h)
	answered := make(chan reply, 1)
	go func() { answered <- h.do("POST", "/api/v1/sign/"+site, text) }()
	for seals := 0; seals == 0; _, seals, _ = h.log.count() {
		time.Sleep(time.Millisecond)
	}
	if err := h.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if p := h.problem(<-answered, 504, "not-finished"); p["uuid"] == nil {
		t.Error(p)
	}
}

func TestNotFinishedInTime(t *testing.T) {
	lag := make(chan struct{})
	h := start(t, func(c *Config) { c.SyncTimeout, c.Random = 100*time.Millisecond, &counter{} })
	h.log.with(func(l *fakeLog) { l.lag = lag })
	r := h.do("GET", "/api/v1/sign/"+site+"?hash="+hashText(0)+"&sig="+signature(8), nil)
	golden(t, "problem-not-finished", r.body)
	p := h.problem(r, 504, "not-finished")
	close(lag)
	if s := h.done(p["uuid"].(string)); s["okHash"] != 1 { // as the reply said
		t.Error(s)
	}
	h.problem(h.do("POST", "/api/v1/sign/"+site, pairsThatWait(h)), 504, "not-finished")
	if n := len(h.waits) + len(h.uploads) + h.results.hub.size(); n != 0 {
		t.Errorf("%d slots and watches are left", n)
	}
}

func pairsThatWait(h *harness) []byte {
	lag := make(chan struct{})
	h.t.Cleanup(func() { close(lag) })
	h.log.with(func(l *fakeLog) { l.lag = lag })
	return body(10, 3, 8)
}

func TestManySingleCallsAtOnce(t *testing.T) {
	h := start(t, nil)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			r := h.do("GET", "/api/v1/sign/"+site+"?hash="+hashText(i/2)+"&sig="+signature(8), nil)
			if r.status != 200 {
				t.Error(r)
			}
		})
	}
	wg.Wait()
	h.store.with(func(s *fakeStore) {
		if len(s.hashes) != 100 {
			t.Errorf("%d hashes", len(s.hashes))
		}
	})
	if n := len(h.waits) + h.results.hub.size(); n != 0 {
		t.Errorf("%d slots and watches are left", n)
	}
}

func TestTooManySyncCalls(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxSync = 1 })
	h.waits <- struct{}{}
	h.problem(h.do("GET", "/api/v1/sign/"+site+"?hash="+hashText(0)+"&sig="+signature(8), nil), 503, "busy")
	h.problem(h.do("POST", "/api/v1/sign/"+site, "[]"), 503, "busy")
	if len(h.uploads) != 0 {
		t.Error("a refused call keeps a body's slot")
	}
	<-h.waits
	if r := h.do("POST", "/api/v1/sign/"+site, "[]"); r.status != 200 {
		t.Error(r)
	}
}

// event makes an Events record of one event.
func event(e *recordpb.Event) []byte {
	return record.Encode(&recordpb.Events{Events: []*recordpb.Event{e}})
}

// newTestTracker makes a tracker that is given its events by count.
func newTestTracker() *Tracker {
	return newTracker(trackerConfig{Store: newFakeStore(), Logger: slog.New(slog.DiscardHandler)})
}

func TestHubCountsEachRowOnce(t *testing.T) {
	id := uuid.New()
	rows := []*recordpb.Event{
		{Upload: id[:], Batch: 1, Shard: -1, Claims: 998, BadSignatures: 1, Errors: 1, Reason: "because"},
		{Upload: id[:], Batch: 1, Shard: 0, Part: 0, Added: 500},
		{Upload: id[:], Batch: 1, Shard: 0, Part: 1, Added: 100, Duplicates: 7},
		{Upload: id[:], Batch: 1, Shard: 3, Part: 0, Added: 391},
		{Upload: id[:], Batch: 2, Shard: -1, Claims: 0, BadSignatures: 5},
	}
	strange := []*recordpb.Event{
		{Upload: id[:], Batch: 0, Shard: -1}, {Upload: id[:], Batch: 3, Shard: 1, Added: 1}, {Upload: make([]byte, 16), Batch: 1, Shard: 0, Added: 1},
	}
	for first := range rows { // in every rotation, with repeats
		h := newTestTracker()
		w := h.Watch(id, 1005)
		for i := range rows {
			select {
			case <-w.complete:
				t.Fatal("complete too early")
			default:
			}
			for _, e := range append(strange, rows[(first+i)%len(rows)], rows[first]) {
				if err := h.count(event(e)); err != nil {
					t.Fatal(err)
				}
			}
		}
		select {
		case <-w.complete:
		default:
			t.Fatalf("not complete from %d on", first)
		}
		if want := (Outcome{Counts{Added: 991, Duplicates: 7, BadSignatures: 6, Errors: 1}, "because"}); w.outcome != want {
			t.Errorf("%+v", w.outcome)
		}
		if w.Close(); h.hub.size() != 0 {
			t.Error("the hub keeps a finished watch")
		}
	}
	h := newTestTracker()
	w, other := h.Watch(id, 1), h.Watch(id, 1)
	if w.Close(); h.hub.size() != 1 {
		t.Error("forgot both")
	}
	if err := h.count([]byte("\xffgarbage")); err == nil {
		t.Error("garbage was decoded")
	}
	if other.Close(); h.hub.size() != 0 {
		t.Error("the hub keeps a watch that was forgotten")
	}
}

// The last so many single signings can be asked for, each once however often it is told of.
func TestFreshHashes(t *testing.T) {
	h := newTestTracker()
	h.announced = fifo.New[[32]byte, store.SignedHash](3)
	tell := func(n byte) {
		hash, id := [32]byte{n}, uuid.UUID{n}
		if err := h.count(record.Encode(&recordpb.Events{Events: []*recordpb.Event{{Upload: id[:], Batch: 1, Added: 1, Signed: &recordpb.Signed{
			Hash: hash[:], Site: site, AcceptedMs: int64(n), Algorithm: "RSA-2048", Signature: []byte{n}, Certificate: hash[:],
		}}}})); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []byte{1, 2, 2, 3, 2, 4, 5} {
		tell(n)
	}
	for n := range byte(7) {
		got, ok := h.announced.Get([32]byte{n})
		if ok != (n >= 3 && n <= 5) {
			t.Errorf("hash %d is there: %v", n, ok)
		}
		if want := (store.SignedHash{Upload: uuid.UUID{n}, Site: site, SignedAt: int64(n), Algorithm: "RSA-2048", Signature: []byte{n}, Certificate: [32]byte{n}}); ok && !reflect.DeepEqual(got, want) {
			t.Errorf("hash %d: %+v", n, got)
		}
	}
}

func TestIdempotencyKey(t *testing.T) {
	h := start(t, nil)
	text := body(0, 2500, 64)
	id := h.upload(site, text, "Idempotency-Key", "one")
	if parseID(t, id).Version() != 8 {
		t.Errorf("UUID %s", id)
	}
	if s := h.done(id); s["okHash"] != 2500 {
		t.Error(s)
	}
	for range 3 { // a retry: the same answer, and no duplicates
		if again := h.upload(site, chunkedReader{bytes.NewReader(text)}, "Idempotency-Key", "one"); again != id {
			t.Errorf("%s, then %s", id, again)
		}
	}
	if again := h.upload(site, gzipped(string(text)), "Idempotency-Key", "one", "Content-Encoding", "gzip"); again != id {
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
	h.problem(h.do("GET", "/api/v1/resultasync/"+id, nil), 404, "unknown-upload")
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
		h.problem(h.do("POST", "/api/v1/asyncsign/"+site, "[]", "Idempotency-Key", key), 400, "invalid-idempotency-key")
	}
	h.problem(h.do("POST", "/api/v1/asyncsign/"+site, "[]", "Idempotency-Key", "a", "Idempotency-Key", "b"), 400, "invalid-idempotency-key")
	h.upload(site, "[]", "Idempotency-Key", fmt.Sprintf("%0255d", 1))
}

func TestIdempotencyKeyInFlightTwice(t *testing.T) {
	h := start(t, func(c *Config) { c.RecordWait = time.Millisecond })
	text := body(0, 2500, 64)
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
	id := h.upload(site, body(0, 10, 8), "Idempotency-Key", "one")
	h.done(id)
	for h.results.Unrecorded() > 0 {
		time.Sleep(time.Millisecond)
	}
	h.store.with(func(s *fakeStore) { s.away = true })
	if again := h.upload(site, body(0, 10, 8), "Idempotency-Key", "one"); again != id {
		t.Errorf("%s, then %s", id, again)
	}
	h.store.with(func(s *fakeStore) { s.away = false })
	if s := h.done(id); s["okHash"] != 10 {
		t.Error(s)
	}
}

func TestSyncCallsTakeKeys(t *testing.T) {
	h := start(t, nil)
	h.store.with(func(s *fakeStore) { s.sinks = true })
	get := func() reply {
		return h.do("GET", "/api/v1/sign/"+site+"?hash="+hashText(0)+"&sig="+signature(8), nil, "Idempotency-Key", "k")
	}
	post := func() reply { return h.do("POST", "/api/v1/sign/"+site, body(10, 1500, 8), "Idempotency-Key", "k") }
	single, list := get(), post()
	for range 2 {
		if r := get(); r.body != single.body || r.status != 200 {
			t.Errorf("%q, then %q", single.body, r.body)
		}
		if r := post(); r.body != list.body {
			t.Error("the list changed")
		}
	}
	if _, seals, _ := h.log.count(); seals != 2 {
		t.Errorf("%d seals", seals)
	}
}
