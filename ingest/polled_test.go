package ingest

import (
	"testing"
	"testing/synctest"
	"time"
)

// A status is told again until something happens, and not for long.
func TestStatusIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p polled
		fresh := func() bool { _, ok := p.current(time.Now()); return ok }
		if fresh() {
			t.Error("a status that nobody asked for")
		}
		p.learn(status{done: 1}, time.Now(), 0)
		if s, ok := p.current(time.Now()); !ok || s.done != 1 {
			t.Errorf("%+v, %v right after it was learned", s, ok)
		}
		time.Sleep(maxStatusAge)
		if fresh() {
			t.Error("an old status")
		}
		asked, events := time.Now(), p.events.Load()
		p.events.Add(1) // while the store answers
		if p.learn(status{done: 2}, asked, events); fresh() {
			t.Error("a status from before an event")
		}
		time.Sleep(1)
		p.learn(status{done: 3}, time.Now(), 1)
		if p.learn(status{done: 2}, asked, 1); p.status.done != 3 {
			t.Error("a late answer replaced a newer one")
		}
	})
}

// Polls in a tight loop ask the store once, and once more when something happened.
func TestPollsInALoopAskOnce(t *testing.T) {
	h := start(t, nil)
	id := h.upload(site, body(0, 10, 8))
	asked := func() (n int) { h.store.with(func(s *fakeStore) { n = s.asked }); return n }
	for _, want := range []int{2, 1} { // the upload, too, the first time; it may still be the recorder's to give
		before, begun := asked(), time.Now()
		for range 20 {
			if s := h.done(id); s["okHash"] != 10 {
				t.Error(s)
			}
		}
		if n := asked() - before; n > want && time.Since(begun) < maxStatusAge {
			t.Errorf("the store was asked %d times", n)
		}
		h.hub.happened(parseID(t, id))
	}
	before := asked()
	if h.done(id); asked() == before {
		t.Error("the store wasn't asked after an event")
	}
}
