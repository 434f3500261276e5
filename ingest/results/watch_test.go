package results

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"countersign/ingest/internal/ingesttest"
	"countersign/internal/fifo"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

func TestMain(m *testing.M) { ingesttest.Main(m) }

// size is the number of open watches.
func (h *hub) size() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, list := range h.watches {
		n += len(list)
	}
	return n
}

// event makes an Events record of one event.
func event(e *recordpb.Event) []byte {
	return record.Encode(&recordpb.Events{Events: []*recordpb.Event{e}})
}

// newTestTracker makes a tracker that is given its events by count.
func newTestTracker() *Tracker {
	t, err := New(Config{
		Store: ingesttest.NewStore(), Follower: &follower{}, Shards: 1,
		Poll: time.Second, StoreTimeout: 10 * time.Second, Retention: 48 * time.Hour,
		Clock: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err) // without a Registerer there is none
	}
	return t
}

// follower is the log: its functions may be nil.
type follower struct {
	follow            func(ctx context.Context, ready func(), fn func([]byte)) error
	caughtUp, settled func(context.Context) error
}

func (f *follower) Follow(ctx context.Context, ready func(), fn func([]byte)) error {
	return f.follow(ctx, ready, fn)
}

func (f *follower) CaughtUp(ctx context.Context) error {
	if f.caughtUp == nil {
		return nil
	}
	return f.caughtUp(ctx)
}

func (f *follower) Settled(ctx context.Context) error {
	if f.settled == nil {
		return nil
	}
	return f.settled(ctx)
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
		{Upload: id[:], Batch: 0, Shard: -1}, {Upload: id[:], Batch: 3, Shard: 1, Added: 1},
		{Upload: make([]byte, 16), Batch: 1, Shard: 0, Added: 1},
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
		want := Outcome{Counts{Added: 991, Duplicates: 7, BadSignatures: 6, Errors: 1}, "because"}
		if w.outcome != want {
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

// The newest single signings are found, each once however often it is announced.
func TestAnnouncedHashes(t *testing.T) {
	h := newTestTracker()
	h.announced = announced{fifo.New[[32]byte, store.SignedHash](3)}
	announce := func(n byte) {
		hash, id := [32]byte{n}, uuid.UUID{n}
		signed := &recordpb.Signed{
			Hash: hash[:], Site: "bank.example", AcceptedMs: int64(n), Algorithm: "RSA-2048", Signature: []byte{n},
			Certificate: hash[:],
		}
		if err := h.count(event(&recordpb.Event{Upload: id[:], Batch: 1, Added: 1, Signed: signed})); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []byte{1, 2, 2, 3, 2, 4, 5} {
		announce(n)
	}
	for n := range byte(7) {
		got, ok := h.announced.get([32]byte{n})
		if ok != (n >= 3 && n <= 5) {
			t.Errorf("hash %d is there: %v", n, ok)
		}
		want := store.SignedHash{
			Upload: uuid.UUID{n}, Site: "bank.example", SignedAt: int64(n), Algorithm: "RSA-2048", Signature: []byte{n},
			Certificate: [32]byte{n},
		}
		if ok && !reflect.DeepEqual(got, want) {
			t.Errorf("hash %d: %+v", n, got)
		}
	}
}

// A call that waits without events asks the store until it has the result, and no more often than every Poll.
func TestWaitAsksTheStore(t *testing.T) {
	for name, askFirst := range map[string]bool{"watching since before the seal": false, "of an earlier upload": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newTestTracker()
				h.following.Store(true)
				fake := h.cfg.Store.(*ingesttest.Store)
				w := h.Watch(storedUpload(fake, 10).ID, 10)
				defer w.Close()
				fake.Failures = 3
				begun, want := time.Now(), 4*time.Second
				if askFirst {
					want = 3 * time.Second
				}
				outcome, err := w.Wait(t.Context(), askFirst)
				if err != nil || outcome.Added != 10 || time.Since(begun) != want {
					t.Errorf("%+v, %v after %s, want %s", outcome, err, time.Since(begun), want)
				}
				fake.Failures = 3
				if n, err := countDetails(t.Context(), w); err != nil || n != 1 || fake.Failures != 0 {
					t.Errorf("%d batches, %v", n, err)
				}
			})
		})
	}
}

// A call whose time is over learns the cause.
func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestTracker()
		w := h.Watch(uuid.UUID{9}, 10)
		defer w.Close()
		reason := errors.New("a reason")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, reason)
		defer cancel()
		if _, err := w.Wait(ctx, true); !errors.Is(err, reason) {
			t.Error(err)
		}
		if _, err := countDetails(ctx, w); !errors.Is(err, reason) {
			t.Error(err)
		}
	})
}

// Following is tried again, with longer pauses, and at once with short ones after it worked.
func TestFollowingIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Duration
		begun := time.Now()
		h := newTestTracker()
		h.cfg.Follower.(*follower).follow = func(ctx context.Context, ready func(), fn func([]byte)) error {
			tries = append(tries, time.Since(begun))
			if len(tries) == 3 {
				ready()
				fn([]byte("\xffgarbage"))
				if !h.Following() {
					t.Error("it says that it doesn't follow")
				}
			}
			return errors.New("no")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 650*time.Millisecond)
		defer cancel()
		h.Run(ctx)
		const ms = time.Millisecond
		if want := []time.Duration{0, 100 * ms, 300 * ms, 400 * ms, 600 * ms}; !slices.Equal(tries, want) || h.Following() {
			t.Errorf("tried after %v, want %v", tries, want)
		}
	})
}

// countDetails is how many batches Details gives.
func countDetails(ctx context.Context, w *Watch) (n int, err error) {
	err = w.Details(ctx, func(store.BatchResult) { n++ })
	return n, err
}
