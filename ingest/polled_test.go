package ingest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// The status of an upload that isn't followed is told again until something happens, and not for long.
func TestStatusIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p polled
		current := func() int {
			s, ok, _ := p.current(time.Now())
			if !ok {
				return -1
			}
			return s.done
		}
		want := func(done int, when string) {
			t.Helper()
			if got := current(); got != done {
				t.Errorf("%s: %d batches done, want %d (-1: ask)", when, got, done)
			}
		}
		want(-1, "before the store was asked")
		p.learn(status{done: 1}, time.Now(), 0)
		want(1, "right after it was asked")
		time.Sleep(maxStatusAge)
		want(-1, "later")
		_, _, events := p.current(time.Now())
		asked := time.Now()
		p.tell(&recordpb.Event{}) // while the store answers
		p.learn(status{done: 2}, asked, events)
		want(-1, "after an event that the store may not have known")
		time.Sleep(1)
		p.learn(status{done: 3}, time.Now(), 1)
		p.learn(status{done: 2}, asked, 1)
		want(3, "after a late answer")
	})
}

// Events say how far a followed upload is, and the store where it knows more; the status never goes back.
func TestFollowedUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		id := uuid.UUID{1}
		h.follow(accepted{id: id, pairs: 3000})
		p, _ := h.polled.get(id)
		tell := func(batch uint32) {
			for _, e := range []*recordpb.Event{{Shard: 2, Added: 999}, {Shard: -1, Claims: 999, BadSignatures: 1}} {
				e.Upload, e.Batch = id[:], batch
				if err := h.feed(record.Encode(&recordpb.Events{Events: []*recordpb.Event{e, e}})); err != nil {
					t.Fatal(err)
				}
			}
		}
		want := func(ok bool, done int, when string) {
			t.Helper()
			s, got, _ := p.current(time.Now())
			if got != ok || s.done != done || s.waiting != 3-done || s.added != 999*uint64(done) || s.badSignatures != uint64(done) {
				t.Errorf("%s: %+v, %v", when, s, got)
			}
		}
		batches := func(n int) status {
			s := status{waiting: 3}
			for range n {
				s.add(999, 0, 1, 0)
			}
			return s
		}
		want(false, 0, "before the store was asked")
		p.learn(batches(0), time.Now(), 0)
		tell(2)
		want(true, 0, "with the second batch")
		tell(1)
		want(true, 2, "with the first, too")
		time.Sleep(maxStatusAge)
		want(false, 2, "later")
		p.learn(batches(1), time.Now(), 0)
		want(true, 2, "when the store knows less")
		time.Sleep(1)
		p.learn(batches(3), time.Now(), 0)
		want(true, 3, "when the store knows more")
		tell(3)
		if want(true, 3, "when all was told"); p.tally != nil {
			t.Error("a complete upload is still counted for")
		}
	})
}

// Polls in a tight loop ask the store once a second.
func TestPollsInALoopAskOnce(t *testing.T) {
	h := start(t, nil)
	id := h.upload(site, body(0, 10, 8))
	asked := func() (n int) { h.store.with(func(s *fakeStore) { n = s.asked }); return n }
	before, begun := asked(), time.Now()
	for range 50 {
		if s := h.done(id); s["okHash"] != 10 {
			t.Error(s)
		}
	}
	if n := asked() - before; n > 1 && time.Since(begun) < maxStatusAge {
		t.Errorf("the store was asked %d times", n)
	}
}

// An upload that wasn't accepted isn't followed.
func TestRefusedUploadIsNotFollowed(t *testing.T) {
	h := start(t, nil)
	h.log.with(func(l *fakeLog) { l.refuse = func(*recordpb.Upload) error { return errAway } })
	if r := h.do("POST", "/api/v1/asyncsign/"+site, body(0, 10, 8)); r.status != 503 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if n := len(h.hub.polled.values); n != 0 {
		t.Errorf("%d uploads are followed", n)
	}
}
