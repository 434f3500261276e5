package results

// What is said is certain: another process may have told the caller more than this one has seen.

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"countersign/ingest/internal/ingesttest"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

func (t *Tracker) fake() *ingesttest.Store { return t.cfg.Store.(*ingesttest.Store) }

func (t *Tracker) log() *follower { return t.cfg.Follower.(*follower) }

// signedEvent announces a single signing.
func signedEvent(hash [32]byte, upper bool) []byte {
	id := uuid.New()
	return event(&recordpb.Event{Upload: id[:], Batch: 1, Added: 1, Signed: &recordpb.Signed{
		Hash: hash[:], Site: "bank.example", Certificate: hash[:], Upper: upper,
	}})
}

// A hash that another process has answered with "signed OK" is found, although the event comes after the question.
func TestHashIsMissedOnlyAfterTheEvents(t *testing.T) {
	h := newTestTracker()
	defer h.Close()
	signed, unsigned := [32]byte{1}, [32]byte{2}
	h.log().caughtUp = func(context.Context) error { return h.count(signedEvent(signed, true)) }
	if row, found, err := h.SignedHash(t.Context(), signed); err != nil || !found || row.Case != store.UpperCase {
		t.Errorf("%+v, %v, %v", row, found, err)
	}
	if _, found, err := h.SignedHash(t.Context(), unsigned); err != nil || found {
		t.Error(found, err)
	}
	h.log().caughtUp = func(context.Context) error { return errors.New("away") }
	if _, _, err := h.SignedHash(t.Context(), unsigned); !errors.Is(err, ErrNotCertain) {
		t.Error(err)
	}
	if _, found, err := h.SignedHash(t.Context(), signed); err != nil || !found {
		t.Error("a hit waits for the log:", err)
	}
}

// A process that has just begun to follow the events doesn't know what was announced before. It says that a hash is
// unknown only after the stages have stored that, which it asks once.
func TestHashIsMissedOnlyAfterWhatWasAnnouncedBefore(t *testing.T) {
	h := newTestTracker()
	defer h.Close()
	for begins := range 2 {
		announced, unsigned := [32]byte{1, byte(begins)}, [32]byte{2}
		ctx, cancel := context.WithCancel(t.Context())
		begun, ended := make(chan struct{}), make(chan struct{})
		h.log().follow = func(ctx context.Context, ready func(), _ func([]byte)) error {
			ready()
			close(begun)
			<-ctx.Done()
			return ctx.Err()
		}
		go func() { defer close(ended); h.follow(ctx) }()
		<-begun
		h.log().settled = func(context.Context) error { return errors.New("a sink hangs") }
		if _, _, err := h.SignedHash(t.Context(), announced); !errors.Is(err, ErrNotCertain) {
			t.Error(err)
		}
		asked := 0
		h.log().settled = func(context.Context) error { // the sink stores what it has announced
			asked++
			h.fake().With(func(s *ingesttest.Store) { s.Signed[announced] = store.SignedHash{Site: "bank.example"} })
			return nil
		}
		for range 3 {
			if _, found, err := h.SignedHash(t.Context(), announced); err != nil || !found {
				t.Error(found, err)
			}
			if _, found, err := h.SignedHash(t.Context(), unsigned); err != nil || found {
				t.Error(found, err)
			}
		}
		if asked != 1 {
			t.Errorf("the stages were asked %d times", asked)
		}
		cancel()
		<-ended
	}
}

// That an upload is unknown is said only after the stages have stored what was in the log, and never of one that was
// accepted, wherever that was.
func TestUploadIsUnknownOnlyOnceSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestTracker()
		defer h.Close()
		row := store.Upload{ID: uuid.New(), Site: "bank.example", Count: 1, AcceptedAt: time.Now().UnixMilli()}
		lag := errors.New("the stages lag")
		h.log().settled = func(context.Context) error { return lag }
		if _, err := h.Status(t.Context(), row.ID); !errors.Is(err, ErrNotCertain) {
			t.Error(err)
		}
		asked := 0
		h.log().settled = func(context.Context) error { asked++; return nil }
		begun := time.Now()
		for range 10 {
			if _, err := h.Status(t.Context(), row.ID); !errors.Is(err, ErrUnknownUpload) {
				t.Error(err)
			}
		}
		if took := time.Since(begun); asked != 10 || took != 10*settleEvery {
			t.Errorf("the log was asked %d times in %s", asked, took)
		}
		h.log().settled = func(context.Context) error { // the stages stored it meanwhile
			h.fake().With(func(s *ingesttest.Store) { s.Rows[row.ID] = row })
			return nil
		}
		if _, err := h.Status(t.Context(), row.ID); err != nil {
			t.Error(err)
		}
	})
}

// An upload that another process has told of is known while nothing else is.
func TestToldUploadsAreKnown(t *testing.T) {
	h := newTestTracker()
	defer h.Close()
	row := store.Upload{ID: uuid.New(), Site: "bank.example", Count: 2500, AcceptedAt: time.Now().UnixMilli()}
	h.log().settled = func(context.Context) error { return errors.New("away") }
	if err := h.count(AcceptedEvent(row)); err != nil {
		t.Fatal(err)
	}
	if got, known, err := h.Accepted(t.Context(), row.ID); got != row || !known || err != nil {
		t.Errorf("%+v, %v, %v", got, known, err)
	}
	if s, err := h.Status(t.Context(), row.ID); err != nil || s.Waiting != 3 {
		t.Errorf("%+v, %v", s, err)
	}
	h.fake().With(func(s *ingesttest.Store) { s.Away = true })
	if _, err := h.Status(t.Context(), row.ID); !errors.Is(err, store.ErrUnavailable) && err != nil {
		t.Error(err)
	}
}

// A status that was asked for a moment ago is not given again: another process may have read more in the store since, and
// have told a caller. Its event need not have come.
func TestStatusIsAskedForAgain(t *testing.T) {
	h := newTestTracker()
	defer h.Close()
	h.log().caughtUp = func(context.Context) error { return errors.New("the leader of topic events hangs") }
	id := uuid.New()
	h.fake().Rows[id] = store.Upload{ID: id, Count: 10, AcceptedAt: time.Now().UnixMilli()}
	if s, err := h.Status(t.Context(), id); err != nil || s.Done != 0 {
		t.Fatal(s, err)
	}
	h.fake().With(func(s *ingesttest.Store) {
		s.Results[id] = []store.BatchResult{{Done: true, Added: make([]string, 10)}}
	})
	if s, err := h.Status(t.Context(), id); err != nil || s.Done != 1 {
		t.Error(s, err)
	}
	h.fake().With(func(s *ingesttest.Store) { s.Away = true })
	if s, err := h.Status(t.Context(), id); err != nil || s.Done != 1 {
		t.Error("a complete upload needs the store:", s, err)
	}
}

// While the sink of one shard is stuck, signings of the others don't push out its rows, which nobody else has.
func TestUnstoredRowsOfAStuckShardAreKept(t *testing.T) {
	const shards = 4
	a := newAnnounced(shards)
	hash := func(shard, n int) (h [32]byte) {
		h[0], h[1], h[2], h[3], h[31] = byte(shard)<<6, byte(n>>16), byte(n>>8), byte(n), 1
		if record.Shard(h[:], shards) != shard {
			t.Fatal("the test makes hashes of other shards")
		}
		return h
	}
	share := record.MaxUnstoredSinglesOfShard(shards)
	for n := range 2 * share { // of the old owner of a shard and of its new one
		a.put(hash(0, n), store.SignedHash{Position: uint32(n)})
	}
	for n := range 4 * record.MaxUnstoredSingles {
		a.put(hash(1+n%3, n), store.SignedHash{})
	}
	for n := range 2 * share {
		if row, ok := a.get(hash(0, n)); !ok || row.Position != uint32(n) {
			t.Fatalf("row %d of the stuck shard is forgotten", n)
		}
	}
}

// Thousands who ask at once are few queries, and more than may wait are refused at once.
func TestQuestionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowStore{Store: ingesttest.NewStore()}
		registry := prometheus.NewRegistry()
		h := newTestTracker()
		c := h.cfg
		c.Store, c.Registerer = slow, registry
		h, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		var refused atomic.Int64
		var asking sync.WaitGroup
		const callers = MaxWaiting + 500
		for n := range callers {
			asking.Go(func() {
				_, found, err := h.SignedHash(t.Context(), [32]byte{byte(n >> 8), byte(n)})
				switch {
				case errors.Is(err, ErrBusy):
					refused.Add(1)
				case err != nil || found:
					t.Error(found, err)
				}
			})
		}
		asking.Wait()
		if refused.Load() != callers-MaxWaiting {
			t.Errorf("%d callers were refused", refused.Load())
		}
		if slow.most > callsAtOnce || slow.calls > callsAtOnce+1 { // fewer where more of the callers came in time for one
			t.Errorf("%d queries, %d at once", slow.calls, slow.most)
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "countersign_ingest_questions_refused_total" && m.GetLabel()[0].GetValue() == "hash" &&
					m.GetCounter().GetValue() != callers-MaxWaiting {
					t.Errorf("the metric says that %v were refused", m.GetCounter().GetValue())
				}
			}
		}
		if len(families) != 4 {
			t.Errorf("%d metrics", len(families))
		}
	})
}

// slowStore takes a second for a look-up of hashes.
type slowStore struct {
	*ingesttest.Store
	mu                sync.Mutex
	calls, busy, most int // guarded by mu
}

func (s *slowStore) Hashes(ctx context.Context, hashes [][32]byte) (map[[32]byte]store.SignedHash, error) {
	s.mu.Lock()
	s.calls++
	s.busy++
	s.most = max(s.most, s.busy)
	s.mu.Unlock()
	time.Sleep(time.Second)
	s.mu.Lock()
	s.busy--
	s.mu.Unlock()
	return s.Store.Hashes(ctx, hashes)
}
