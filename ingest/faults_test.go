package ingest

// What happens when the log or the store fails, and when the server stops (I1, I2).

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"countersign/ingest/problem"
	"countersign/pipeline/record/recordpb"
)

var errRefused = errors.New("the fake log refused it")

func isSeal(m *recordpb.Upload) bool { return m.GetSeal() != nil || m.GetChunk().GetSeal() != nil }

func TestLogAway(t *testing.T) {
	h := start(t, nil)
	h.log.with(func(l *fakeLog) { l.away = true })
	for name, text := range map[string][]byte{"many chunks": body(0, 2500, 64), "one": body(0, 1, 64), "none": []byte("[]")} {
		r := h.do("POST", "/api/v1/asyncsign/"+site, text)
		if p := h.problem(r, 503, "log-unavailable"); p["uuid"] != nil || r.header.Get("Retry-After") == "" {
			t.Errorf("%s: %v %v", name, p, r.header)
		}
		h.problem(h.do("POST", "/api/v1/sign/"+site, text), 503, "log-unavailable")
	}
	h.problem(h.do("GET", "/api/v1/sign/"+site+"?hash="+hashText(0)+"&sig="+signature(8), nil), 503, "log-unavailable")
	h.nothingKept()
	h.log.with(func(l *fakeLog) { l.away = false })
	if s := h.done(h.upload(site, body(0, 2500, 64))); s["okHash"] != 2500 {
		t.Error(s)
	}
}

func TestChunkOrSealRefused(t *testing.T) {
	for name, refuse := range map[string]func(*recordpb.Upload) error{
		"chunk": func(m *recordpb.Upload) error {
			if m.GetChunk().GetFirst() == 1000 {
				return errRefused
			}
			return nil
		},
		"seal": func(m *recordpb.Upload) error {
			if isSeal(m) {
				return errRefused
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, nil)
			h.log.with(func(l *fakeLog) { l.refuse = refuse })
			h.problem(h.do("POST", "/api/v1/asyncsign/"+site, body(0, 2500, 64)), 503, "log-unavailable")
			h.nothingKept()
			if _, _, aborts := h.log.count(); aborts != 1 {
				t.Errorf("%d aborts", aborts)
			}
		})
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
		"flush": func(l *fakeLog) { l.flush = errors.New("disk full") },
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, func(c *Config) { c.Random = &counter{} })
			h.log.with(fault)
			for i, n := range []int{2500, 1} {
				r := h.do("POST", "/api/v1/asyncsign/"+site, body(1000*i, n, 64))
				p := h.problem(r, 503, "outcome-unknown")
				if i == 0 && name == "seal" {
					golden(t, "problem-outcome-unknown", r.body)
				}
				if id, _ := p["uuid"].(string); len(id) != 36 {
					t.Errorf("no uuid: %s", r.body)
				}
			}
			for _, r := range []reply{
				h.do("POST", "/api/v1/sign/"+site, body(5000, 3, 64)),
				h.do("GET", "/api/v1/sign/"+site+"?hash="+hashText(6000)+"&sig="+signature(8), nil),
			} {
				if p := h.problem(r, 503, "outcome-unknown"); p["uuid"] == nil {
					t.Errorf("no uuid: %s", r.body)
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
	for _, request := range []func() reply{
		func() reply { return h.do("POST", "/api/v1/asyncsign/"+site, body(0, 2500, 8)) },
		func() reply { return h.do("POST", "/api/v1/sign/"+site, body(3000, 3, 8)) },
		func() reply {
			return h.do("GET", "/api/v1/sign/"+site+"?hash="+hashText(4000)+"&sig="+signature(8), nil)
		},
	} {
		disk := make(chan struct{})
		h.log.with(func(l *fakeLog) { l.disk = disk })
		answered := make(chan reply, 1)
		go func() { answered <- request() }()
		select {
		case r := <-answered:
			t.Errorf("answered before the flush: %v", r)
		case <-time.After(50 * time.Millisecond):
		}
		close(disk)
		if r := <-answered; r.status != 200 {
			t.Error(r)
		}
	}
}

func TestStoreAway(t *testing.T) {
	h := start(t, func(c *Config) { c.RecordWait = 20 * time.Millisecond })
	h.store.with(func(s *fakeStore) { s.away = true })
	id := h.upload(site, body(0, 2500, 64)) // accepted all the same
	for _, path := range []string{"/api/v1/resultasync/" + id, "/api/v1/resultasync/" + id + "/1", "/api/v1/hash/" + hashText(1),
		"/api/v1/resultasync/06b0ac02-bb62-4052-b48b-d875e26561f8"} {
		r := h.do("GET", path, nil)
		if h.problem(r, 503, "store-unavailable"); r.header.Get("Retry-After") == "" {
			t.Error(r.header)
		}
	}
	h.store.with(func(s *fakeStore) { s.away = false })
	if s := h.done(id); s["okHash"] != 2500 {
		t.Error(s)
	}
	for range 2000 {
		if h.results.Unrecorded() == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if _, ok, _ := h.store.Upload(t.Context(), parseID(t, id)); !ok {
		t.Error("the upload's row was never written")
	}
}

func TestUnrecordedUploadsAreKnownHere(t *testing.T) {
	stuck := make(chan struct{})
	h := start(t, func(c *Config) { c.RecordWait = 20 * time.Millisecond; c.MaxUnrecorded = 2 })
	h.store.with(func(s *fakeStore) { s.stuck = stuck })
	defer close(stuck)
	started := time.Now()
	id := h.upload(site, body(0, 10, 8))
	if waited := time.Since(started); waited > 5*time.Second {
		t.Errorf("the answer waited %s for the row", waited)
	}
	if s := h.done(id); s["okHash"] != 10 {
		t.Error(s)
	}
	h.upload(site, "[]")
	r := h.do("POST", "/api/v1/asyncsign/"+site, "[]")
	if h.problem(r, 503, "store-unavailable"); r.header.Get("Retry-After") == "" {
		t.Error(r.header)
	}
}

func TestRowsAreWrittenInBatches(t *testing.T) {
	stuck := make(chan struct{})
	h := start(t, func(c *Config) { c.RecordWait = time.Millisecond })
	h.store.with(func(s *fakeStore) { s.stuck = stuck })
	for range 50 {
		h.upload(site, "[]")
	}
	close(stuck)
	h.upload(site, "[]")
	for range 1000 {
		if h.results.Unrecorded() == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	h.store.with(func(s *fakeStore) {
		if len(s.uploads) != 51 || s.inserts > 3 {
			t.Errorf("%d rows in %d inserts", len(s.uploads), s.inserts)
		}
	})
}

func TestWindowBoundsWhatIsOnTheWay(t *testing.T) {
	hold := make(chan struct{})
	var mu sync.Mutex
	most, chunks := 0, 0
	h := start(t, func(c *Config) { c.WindowBytes = 400_000 })
	h.log.with(func(l *fakeLog) {
		l.hold = hold
		l.observed = func(_ int, value []byte, waiting int) {
			mu.Lock()
			defer mu.Unlock()
			chunks++
			most = max(most, waiting)
		}
	})
	time.AfterFunc(300*time.Millisecond, func() { close(hold) })
	if s := h.done(h.upload(site, body(0, 20_000, 64))); s["okHash"] != 20_000 {
		t.Error(s)
	}
	mu.Lock()
	defer mu.Unlock()
	if most != 4 || chunks != 21 { // 98 kB a chunk; 20 and the seal
		t.Errorf("%d of %d records were on the way at once", most, chunks)
	}
}

func TestStopWaitsForOpenBodies(t *testing.T) {
	h := start(t, nil)
	text := body(0, 2500, 64)
	c := dial(t, h)
	fmt.Fprintf(c, "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", site, len(text), text[:1000])
	for len(h.uploads) == 0 {
		time.Sleep(time.Millisecond)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- h.Shutdown(t.Context()) }()
	for !h.Server.http.Stopping() {
		time.Sleep(time.Millisecond)
	}
	if len(h.NotReady()) == 0 {
		t.Error("ready while stopping")
	}
	if _, err := c.Write(text[1000:]); err != nil {
		t.Fatal(err)
	}
	if r := readReply(t, c); r.status != 200 || !r.closed {
		t.Error(r)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestStopAbortsBodiesThatTakeTooLong(t *testing.T) {
	h := start(t, func(c *Config) { c.HTTP.DrainTimeout = 100 * time.Millisecond })
	text := body(0, 2500, 64)
	c := dial(t, h)
	fmt.Fprintf(c, "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", site, len(text), text[:len(text)-1])
	for chunks := 0; chunks == 0; chunks, _, _ = h.log.count() {
		time.Sleep(time.Millisecond)
	}
	if err := h.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	h.problem(readReply(t, c), 503, "stopping")
	h.nothingKept()
	if _, _, aborts := h.log.count(); aborts != 1 {
		t.Errorf("%d aborts", aborts)
	}
}

func TestPanicIsA500(t *testing.T) {
	h := start(t, nil)
	for _, expect := range []string{"", "Expect: 100-continue\r\n"} {
		h.Server.http.routes[0].calls["POST"].Admit = func(*Exchange) (Handler, *problem.Problem) { panic("on purpose") }
		c := dial(t, h)
		fmt.Fprintf(c, "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\n%sContent-Length: 2\r\n\r\n[]", site, expect)
		h.problem(readReply(t, c), 500, "internal")
	}
	if r := h.do("GET", "/api/v1/hash/"+hashText(0), nil); r.status != 404 {
		t.Error(r)
	}
}
