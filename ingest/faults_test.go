package ingest

// What happens when the log or the store fails, and when the server stops (I1, I2).

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"countersign/ingest/internal/ingesttest"
	"countersign/pipeline/record/recordpb"
)

// bulkHead begins an upload to a site, of so many bytes.
const bulkHead = "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"

var (
	errRefused = errors.New("the fake log refused it")
	errFull    = errors.New("the fake log's disk is full")
)

func isSeal(m *recordpb.Upload) bool { return sealOf(m) != nil }

func TestLogAway(t *testing.T) {
	h := start(t, nil)
	h.log.with(func(l *fakeLog) { l.away = true })
	bodies := map[string][]byte{"many chunks": pairs(0, 2500, 64), "one": pairs(0, 1, 64), "none": []byte("[]")}
	for name, text := range bodies {
		r := h.Do("POST", "/api/v1/asyncsign/"+site, text)
		if p := h.Problem(r, 503, "log-unavailable"); p["uuid"] != nil || r.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %v %v", name, p, r.Header)
		}
		h.Problem(h.Do("POST", "/api/v1/sign/"+site, text), 503, "log-unavailable")
	}
	h.Problem(h.sign(site, 0), 503, "log-unavailable")
	h.nothingKept()
	h.log.with(func(l *fakeLog) { l.away = false })
	if s := h.done(h.upload(site, pairs(0, 2500, 64))); s["okHash"] != 2500 {
		t.Error(s)
	}
}

func TestChunkOrSealRefused(t *testing.T) {
	for name, refused := range map[string]func(*recordpb.Upload) bool{
		"chunk": func(m *recordpb.Upload) bool { return m.GetChunk().GetFirst() == 1000 },
		"seal":  isSeal,
	} {
		for kind, err := range map[string]error{"log-unavailable": errRefused, "disk-full": errFull} {
			t.Run(name+" "+kind, func(t *testing.T) {
				h := start(t, nil)
				h.log.with(func(l *fakeLog) {
					l.refuse = func(m *recordpb.Upload) error {
						if refused(m) {
							return err
						}
						return nil
					}
				})
				h.Problem(h.Do("POST", "/api/v1/asyncsign/"+site, pairs(0, 2500, 64)), 503, kind)
				h.nothingKept()
				if _, _, aborts := h.log.count(); aborts != 1 {
					t.Errorf("%d aborts", aborts)
				}
			})
		}
	}
}

func TestFateOfTheSealUnknown(t *testing.T) {
	lose := func(m *recordpb.Upload) error {
		if isSeal(m) {
			return errUnknown
		}
		return nil
	}
	for name, fault := range map[string]func(*fakeLog){
		"seal":  func(l *fakeLog) { l.lose = lose },
		"flush": func(l *fakeLog) { l.flush = func() error { return errors.New("disk full") } },
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, func(c *Config) { c.Random = &counter{} })
			h.log.with(fault)
			for i, n := range []int{2500, 1} {
				r := h.Do("POST", "/api/v1/asyncsign/"+site, pairs(1000*i, n, 64))
				p := h.Problem(r, 503, "outcome-unknown")
				if i == 0 && name == "seal" {
					golden(t, "problem-outcome-unknown", r.Body)
				}
				if id, _ := p["uuid"].(string); len(id) != 36 {
					t.Errorf("no uuid: %s", r.Body)
				}
			}
			for _, r := range []ingesttest.Reply{
				h.Do("POST", "/api/v1/sign/"+site, pairs(5000, 3, 64)),
				h.sign(site, 6000),
			} {
				if p := h.Problem(r, 503, "outcome-unknown"); p["uuid"] == nil {
					t.Errorf("no uuid: %s", r.Body)
				}
			}
			if _, _, aborts := h.log.count(); aborts != 0 {
				t.Errorf("%d aborts for uploads that may exist", aborts)
			}
		})
	}
}

func TestFlushComesBeforeTheAnswer(t *testing.T) {
	h := start(t, nil)
	for _, request := range []func() ingesttest.Reply{
		func() ingesttest.Reply { return h.Do("POST", "/api/v1/asyncsign/"+site, pairs(0, 2500, 8)) },
		func() ingesttest.Reply { return h.Do("POST", "/api/v1/sign/"+site, pairs(3000, 3, 8)) },
		func() ingesttest.Reply { return h.sign(site, 4000) },
	} {
		flushing, disk := make(chan struct{}), make(chan struct{})
		h.log.with(func(l *fakeLog) { l.flush = func() error { close(flushing); <-disk; return nil } })
		answered := make(chan ingesttest.Reply, 1)
		go func() { answered <- request() }()
		<-flushing
		for range 20 { // an answer that doesn't wait for the flush would overtake these
			h.Do("GET", "/openapi.json", nil)
		}
		select {
		case r := <-answered:
			t.Errorf("answered before the flush: %v", r)
		default:
		}
		close(disk)
		if r := <-answered; r.Status != 200 {
			t.Error(r)
		}
	}
}

func TestStoreAway(t *testing.T) {
	h := start(t, func(c *Config) { c.RecordWait = 20 * time.Millisecond })
	h.store.With(func(s *ingesttest.Store) { s.Away = true })
	id := h.upload(site, pairs(0, 2500, 64)) // accepted all the same
	for _, path := range []string{
		"/api/v1/resultasync/" + id + "/1", "/api/v1/hash/" + hashText(1),
		"/api/v1/resultasync/06b0ac02-bb62-4052-b48b-d875e26561f8",
	} {
		r := h.Do("GET", path, nil)
		if h.Problem(r, 503, "store-unavailable"); r.Header.Get("Retry-After") == "" {
			t.Error(r.Header)
		}
	}
	h.store.With(func(s *ingesttest.Store) { s.Away = false })
	if s := h.done(id); s["okHash"] != 2500 {
		t.Error(s)
	}
	ingesttest.Until(t, "the row is stored", func() bool { return h.results.Unrecorded() == 0 })
	if _, ok, _ := h.store.Upload(t.Context(), parseID(t, id)); !ok {
		t.Error("the upload's row was never written")
	}
}

func TestUnrecordedUploadsAreKnownHere(t *testing.T) {
	stuck := make(chan struct{})
	h := start(t, func(c *Config) { c.RecordWait = time.Hour; c.MaxUnrecorded = 2 })
	h.store.With(func(s *ingesttest.Store) { s.Stuck = stuck })
	defer close(stuck)
	id := h.upload(site, pairs(0, 10, 8)) // it is answered, although its row can't be stored: every process was told
	if s := h.done(id); s["okHash"] != 10 {
		t.Error(s)
	}
	h.upload(site, "[]")
	r := h.Do("POST", "/api/v1/asyncsign/"+site, "[]")
	if h.Problem(r, 503, "store-unavailable"); r.Header.Get("Retry-After") == "" {
		t.Error(r.Header)
	}
}

func TestWindowBoundsWhatIsOnTheWay(t *testing.T) {
	const room = 4 // 98 kB a chunk
	hold := make(chan struct{})
	most, records := 0, 0 // guarded by the log's mu
	h := start(t, func(c *Config) { c.WindowBytes = 400_000 })
	h.log.with(func(l *fakeLog) {
		l.hold = hold
		l.observed = func(_ []byte, unsettled int) {
			records++
			if most = max(most, unsettled); most == room && hold != nil {
				close(hold) // the window is full: without acknowledgements nothing more would come
				hold, l.hold = nil, nil
			}
		}
	})
	if s := h.done(h.upload(site, pairs(0, 20_000, 64))); s["okHash"] != 20_000 {
		t.Error(s)
	}
	h.log.with(func(*fakeLog) {
		if most != room || records != 21 { // 20 chunks and the seal
			t.Errorf("%d of %d records were on the way at once", most, records)
		}
	})
}

func TestStopWaitsForOpenBodies(t *testing.T) {
	h := start(t, func(c *Config) { c.HTTP.DrainTimeout = ingesttest.MaxWait })
	text := pairs(0, 2500, 64)
	c := h.Dial()
	fmt.Fprintf(c, bulkHead+"%s", site, len(text), text[:1000])
	ingesttest.Until(t, "the body is read", func() bool { return h.admission.Uploads.Held() == 1 })
	stopped := make(chan error, 1)
	go func() { stopped <- h.Shutdown(t.Context()) }()
	ingesttest.Until(t, "the server stops", h.http.Stopping)
	ingesttest.Until(t, "readiness says so", func() bool { return len(h.NotReady()) > 0 })
	if _, err := c.Write(text[1000:]); err != nil {
		t.Fatal(err)
	}
	if r := ingesttest.ReadReply(t, c); r.Status != 200 || !r.Closed {
		t.Error(r)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestStopAbortsBodiesThatTakeTooLong(t *testing.T) {
	h := start(t, func(c *Config) { c.HTTP.DrainTimeout = 100 * time.Millisecond })
	text := pairs(0, 2500, 64)
	c := h.Dial()
	fmt.Fprintf(c, bulkHead+"%s", site, len(text), text[:len(text)-1])
	ingesttest.Until(t, "a chunk was sent", func() bool { chunks, _, _ := h.log.count(); return chunks > 0 })
	if err := h.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	h.Problem(ingesttest.ReadReply(t, c), 503, "stopping")
	h.nothingKept()
	if _, _, aborts := h.log.count(); aborts != 1 {
		t.Errorf("%d aborts", aborts)
	}
}
