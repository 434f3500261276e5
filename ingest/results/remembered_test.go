package results

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"countersign/ingest/internal/ingesttest"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

// What the store says of an upload whose events are not counted never goes back.
func TestStatusIsTheFurthestThatWasSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := remember(store.Upload{Count: 3000}, false)
		want := func(done int, when string) {
			t.Helper()
			if s, _ := u.current(); s.Done != done {
				t.Errorf("%s: %d batches done, want %d", when, s.Done, done)
			}
		}
		batches := func(n int) Status { return Status{Waiting: 3 - n, Done: n} }
		earlier := time.Now()
		time.Sleep(time.Nanosecond)
		u.answered(batches(2), time.Now())
		u.answered(batches(1), earlier)
		want(2, "after a late answer")
		if _, asked := u.current(); asked != time.Now() {
			t.Errorf("the store was asked at %s, and %s is remembered", time.Now(), asked)
		}
		u.answered(batches(3), time.Now())
		u.count(&recordpb.Event{})
		want(3, "after an event that repeats, of a complete upload")
	})
}

// Events say how far an upload is that was accepted here, and the store where it knows more; the status never goes
// back.
func TestStatusFollowsEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestTracker()
		id := uuid.UUID{1}
		h.Expect(store.Upload{ID: id, Count: 3000}, nil)
		u, _ := h.uploads.Get(id)
		publish := func(batch uint32) {
			for _, e := range []*recordpb.Event{{Shard: 2, Added: 999}, {Shard: -1, Claims: 999, BadSignatures: 1}} {
				e.Upload, e.Batch = id[:], batch
				if err := h.count(record.Encode(&recordpb.Events{Events: []*recordpb.Event{e, e}})); err != nil {
					t.Fatal(err)
				}
			}
		}
		want := func(done int, when string) {
			t.Helper()
			s, _ := u.current()
			n := uint64(done)
			if s.Done != done || s.Waiting != 3-done || s.Added != 999*n || s.BadSignatures != n {
				t.Errorf("%s: %+v", when, s)
			}
		}
		batches := func(n int) Status {
			s := Status{Waiting: 3}
			for range n {
				s.addBatch(Counts{Added: 999, BadSignatures: 1})
			}
			return s
		}
		want(0, "before the store was asked")
		publish(2)
		want(0, "with the second batch")
		publish(1)
		want(2, "with the first, too")
		u.answered(batches(1), time.Now())
		want(2, "when the store knows less")
		u.answered(batches(3), time.Now())
		want(3, "when the store knows more")
		if publish(3); u.tally != nil {
			t.Error("events of a complete upload are still counted")
		}
		want(3, "when all events have come")
	})
}

// Polls in a tight loop ask the store once in askEvery, and not at all once the upload is complete.
func TestPollsInALoopAskSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const polls = 20
		h := newTestTracker()
		fake := h.cfg.Store.(*ingesttest.Store)
		row := storedUpload(fake, 10)
		done := fake.Results[row.ID]
		delete(fake.Results, row.ID)
		begun := time.Now()
		for range polls {
			if s, err := h.Status(t.Context(), row.ID); err != nil || s.Complete() {
				t.Fatalf("%+v, %v", s, err)
			}
		}
		if took := time.Since(begun); took != (polls-1)*askEvery || fake.Asked != 1+polls { // once for the row
			t.Errorf("the store was asked %d times in %s", fake.Asked, took)
		}
		fake.Results[row.ID] = done
		for range polls {
			if s, err := h.Status(t.Context(), row.ID); err != nil || !s.Complete() || s.Added != 10 {
				t.Fatalf("%+v, %v", s, err)
			}
		}
		if fake.Asked != 1+polls+1 {
			t.Errorf("the store was asked %d times about a complete upload", fake.Asked-1-polls)
		}
	})
}

// Where no other process answers callers, events are enough, and the store is asked once in askAlone: events may be
// missing.
func TestAloneEventsAnswerPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestTracker()
		h.cfg.Alone = true
		h.following.Store(true)
		fake := h.cfg.Store.(*ingesttest.Store)
		row := storedUpload(fake, 10)
		h.Expect(row, nil)
		want := func(asked int, complete bool, when string) {
			t.Helper()
			if s, err := h.Status(t.Context(), row.ID); err != nil || s.Complete() != complete || fake.Asked != asked {
				t.Errorf("%s: %+v, %v, the store was asked %d times, want %d", when, s, err, fake.Asked, asked)
			}
		}
		for range 20 {
			want(0, false, "before an event")
		}
		time.Sleep(askAlone - time.Millisecond)
		want(0, false, "soon after")
		time.Sleep(time.Millisecond)
		want(1, true, "when no event has come for a while")

		other := store.Upload{ID: uuid.UUID{8}, Count: 1, AcceptedAt: time.Now().UnixMilli()}
		h.Expect(other, nil)
		h.following.Store(false)
		if _, err := h.Status(t.Context(), other.ID); err != nil || fake.Asked != 2 {
			t.Errorf("while events aren't followed: %v, the store was asked %d times", err, fake.Asked)
		}
	})
}

// A poll that waits until the store may be asked again is answered by the event that completes the upload.
func TestPollIsAnsweredByTheLastEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestTracker()
		fake := h.cfg.Store.(*ingesttest.Store)
		id := uuid.UUID{1}
		h.Expect(store.Upload{ID: id, Count: 1, AcceptedAt: time.Now().UnixMilli()}, nil)
		begun := time.Now()
		time.AfterFunc(askEvery/2, func() {
			for _, e := range []*recordpb.Event{{Shard: 2, Added: 1}, {Shard: -1, Claims: 1}} {
				e.Upload, e.Batch = id[:], 1
				if err := h.count(record.Encode(&recordpb.Events{Events: []*recordpb.Event{e}})); err != nil {
					t.Error(err)
				}
			}
		})
		s, err := h.Status(t.Context(), id)
		if err != nil || !s.Complete() || time.Since(begun) != askEvery/2 || fake.Asked != 0 {
			t.Errorf("%+v, %v after %s, the store was asked %d times", s, err, time.Since(begun), fake.Asked)
		}
	})
}

// storedUpload puts a complete upload of one batch into a store.
func storedUpload(s *ingesttest.Store, pairs int) store.Upload {
	row := store.Upload{ID: uuid.UUID{7}, Count: uint64(pairs), AcceptedAt: time.Now().UnixMilli()}
	s.Rows[row.ID] = row
	s.Results[row.ID] = []store.BatchResult{{Done: true, Added: make([]string, pairs)}}
	return row
}

// Results are given out for the retention time, to the millisecond.
func TestExpiredUploadsAreUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestTracker()
		row := storedUpload(h.cfg.Store.(*ingesttest.Store), 1)
		time.Sleep(h.cfg.Retention)
		if _, err := h.Status(t.Context(), row.ID); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Millisecond)
		if _, err := h.Status(t.Context(), row.ID); !errors.Is(err, ErrUnknownUpload) {
			t.Error(err)
		}
		if _, err := h.Status(t.Context(), uuid.UUID{8}); !errors.Is(err, ErrUnknownUpload) {
			t.Error(err)
		}
	})
}

func TestProgressThatSkipsABatch(t *testing.T) {
	s := statusOf([]store.BatchProgress{{Batch: 2, Done: true, Added: 1000}}, 2)
	if s.Done != 0 || s.Waiting != 2 || s.Added != 0 {
		t.Errorf("%+v", s)
	}
}
