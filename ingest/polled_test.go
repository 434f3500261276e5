package ingest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

// The status of an upload whose events are not counted is given again until something happens, and not for long.
func TestStatusIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := remember(store.Upload{Count: 3000}, false)
		want := func(done int, when string) {
			t.Helper()
			s, fresh := u.current(time.Now())
			if !fresh {
				s.Done = -1
			}
			if s.Done != done {
				t.Errorf("%s: %d batches done, want %d (-1: ask)", when, s.Done, done)
			}
		}
		batches := func(n int) Status { return Status{Waiting: 3 - n, Done: n} }
		want(-1, "before the store was asked")
		u.answered(batches(0), time.Now())
		want(0, "right after it was asked")
		time.Sleep(maxStatusAge)
		want(-1, "later")
		asked := time.Now()
		time.Sleep(1)
		u.count(&recordpb.Event{}) // while the store answers
		u.answered(batches(1), asked)
		want(-1, "after an event that the store may not have known")
		time.Sleep(1)
		u.answered(batches(2), time.Now())
		u.answered(batches(1), asked)
		want(2, "after a late answer")
		u.answered(batches(3), time.Now())
		u.count(&recordpb.Event{})
		want(3, "after an event that repeats, of a complete upload")
	})
}

// Events say how far an upload is that was accepted here, and the store where it knows more; the status never goes back.
func TestStatusFollowsEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestTracker()
		id := uuid.UUID{1}
		h.Expect(store.Upload{ID: id, Count: 3000})
		u, _ := h.uploads.Get(id)
		tell := func(batch uint32) {
			for _, e := range []*recordpb.Event{{Shard: 2, Added: 999}, {Shard: -1, Claims: 999, BadSignatures: 1}} {
				e.Upload, e.Batch = id[:], batch
				if err := h.count(record.Encode(&recordpb.Events{Events: []*recordpb.Event{e, e}})); err != nil {
					t.Fatal(err)
				}
			}
		}
		want := func(fresh bool, done int, when string) {
			t.Helper()
			s, got := u.current(time.Now())
			if got != fresh || s.Done != done || s.Waiting != 3-done || s.Added != 999*uint64(done) || s.BadSignatures != uint64(done) {
				t.Errorf("%s: %+v, %v", when, s, got)
			}
		}
		batches := func(n int) Status {
			s := Status{Waiting: 3}
			for range n {
				s.addBatch(Counts{Added: 999, BadSignatures: 1})
			}
			return s
		}
		want(false, 0, "before the store was asked")
		u.answered(batches(0), time.Now())
		tell(2)
		want(true, 0, "with the second batch")
		tell(1)
		want(true, 2, "with the first, too")
		time.Sleep(maxStatusAge)
		want(false, 2, "later")
		u.answered(batches(1), time.Now())
		want(true, 2, "when the store knows less")
		time.Sleep(1)
		u.answered(batches(3), time.Now())
		want(true, 3, "when the store knows more")
		if tell(3); u.tally != nil {
			t.Error("events of a complete upload are still counted")
		}
		want(true, 3, "when all events have come")
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

// Polls are not answered about an upload that wasn't accepted.
func TestRefusedUploadIsForgotten(t *testing.T) {
	h := start(t, func(c *Config) { c.Random = &counter{} })
	h.log.with(func(l *fakeLog) { l.refuse = func(*recordpb.Upload) error { return errAway } })
	if r := h.do("POST", "/api/v1/asyncsign/"+site, body(0, 10, 8)); r.status != 503 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if _, ok := h.results.uploads.Get(uuid.MustParse("02020202-0202-4202-8202-020202020202")); ok {
		t.Error("the upload is remembered")
	}
}
