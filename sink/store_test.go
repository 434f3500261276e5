package sink

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"countersign/internal/testseed"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
	"countersign/sink/store/engine"
	"countersign/sink/store/engine/enginetest"
)

// The same stage over a real ClickHouse: the embedded engine.

// TestMain is also the engine's child process: the test binary executes itself, as countersign does.
func TestMain(m *testing.M) {
	enginetest.Begin(map[string]func([]string) int{engine.ChildArg: engine.Main})
	goleak.VerifyTestMain(m)
}

func realStore(t testing.TB) *store.DB {
	t.Helper()
	ctx := t.Context()
	e, err := engine.Start(ctx, engine.Config{
		Dir: t.TempDir(), Grants: store.ServiceGrants("default"), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatalf("this test needs the embedded engine: %v", err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	db, err := store.Open(ctx, store.Config{URL: e.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	return db
}

// A log with many duplicates, walked by a process that is killed again and again and at the end by two at once, comes
// to the owners and results of the model in a real ClickHouse.
func TestRealStore(t *testing.T) {
	db := realStore(t)
	const shards, batches, claims = 3, 60, 250
	w := newWorld(shards)
	w.perFetch = 4
	rnd := testseed.Rand(t)
	now := time.Now().UnixMilli() // results expire
	for batch := range uint32(batches) {
		upload := byte(1 + batch%5)
		for shard := range shards {
			var hashes [][32]byte
			for range claims {
				hashes = append(hashes, hashOf(shard, shards, rnd.IntN(batches*claims/2)))
			}
			c := part(upload, batch/5+1, 0, shard*claims, hashes...) // a position is one shard's
			c.AcceptedMs = now
			w.produce(shard, block(c))
		}
		o := outcome(upload, batch/5+1, shards*claims)
		o.AcceptedMs = now
		w.produce(int(batch)%shards, outcomes(&recordpb.Outcomes{Outcomes: []*recordpb.Outcome{o}}))
	}
	trusted := func() Config {
		c := w.config(0, 1, 2)
		c.Store, c.DrainTimeout, c.RecentRows, c.MaxFlushRows = onlyStore{db}, time.Nanosecond, 100, 500
		c.Consume = func(ctx context.Context, handle handler) error { return w.consumeUnchecked(ctx, handle, shards) }
		c.Send = func(context.Context, string, int, []byte) error { return nil }
		return c
	}
	for range 4 {
		died, err := runDoomed(t.Context(), w, trusted(), 2*shards+1+rnd.IntN(20), rnd.IntN(2) == 0)
		if err != nil {
			t.Error(err)
		}
		if !died {
			t.Error("the process had stored everything before it could be killed")
		}
	}
	ctx, end := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := Run(ctx, trusted()); err != nil {
				t.Error(err)
			}
		})
	}
	if !w.await(w.drained) {
		t.Errorf("not all is committed: %v", w.commits())
	}
	end()
	wg.Wait()

	m := model(w)
	var all []byte
	for h := range m.owners {
		all = append(all, h[:]...)
	}
	got := ownersOf{}
	if err := db.Owners(t.Context(), all, got); err != nil {
		t.Fatal(err)
	}
	signed, err := db.Hashes(t.Context(), slices.Collect(maps.Keys(m.owners)))
	if err != nil || len(signed) != len(m.owners) {
		t.Fatalf("%d of %d hashes have a signature, %v", len(signed), len(m.owners), err)
	}
	for h, want := range m.owners {
		if got[h] != want {
			t.Fatalf("hash %x belongs to %v, want %v", h, got[h], want)
		}
	}
	for upload := byte(1); upload <= 5; upload++ {
		for batch := uint32(1); batch <= batches/5; batch++ {
			r, ok, err := db.Batch(t.Context(), uploadID(upload), batch)
			if err != nil || !ok || !r.Done {
				t.Fatalf("batch %d of upload %d: %+v, %v, %v", batch, upload, r, ok, err)
			}
			var added, duplicates []string
			for shard := range int32(shards) {
				row := m.results[resultKey{uploadID(upload), batch, shard, 0}]
				added, duplicates = append(added, texts(row.Added)...), append(duplicates, texts(row.Duplicates)...)
			}
			for _, l := range [][]string{added, duplicates, r.Added, r.Duplicates} {
				slices.Sort(l)
			}
			if !slices.Equal(r.Added, added) || !slices.Equal(r.Duplicates, duplicates) {
				t.Fatalf("batch %d of upload %d: %d added, %d duplicates, want %d and %d", batch, upload,
					len(r.Added), len(r.Duplicates), len(added), len(duplicates))
			}
		}
	}
}

func texts(e store.Entries) (all []string) {
	for i := range e.Len() {
		all = append(all, record.HexText(e.Hashes[32*i:32*i+32], record.Bit(e.Upper, i)))
	}
	return all
}

// onlyStore hides everything of the database that isn't of Store.
type onlyStore struct{ Store }

// consumeUnchecked is consume for a store that the fakes can't look into.
func (w *world) consumeUnchecked(ctx context.Context, handle handler, shards int) error {
	var wg sync.WaitGroup
	for id := range shards {
		wg.Go(func() {
			w.mu.Lock()
			p := &trusting{partition{w: w, id: id, start: w.committed[id], next: w.committed[id]}}
			w.mu.Unlock()
			handle(ctx, p)
		})
	}
	wg.Wait()
	return nil
}

// trusting takes a commit as it is.
type trusting struct{ partition }

func (p *trusting) Commit(next int64) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.committed[p.id] = max(p.w.committed[p.id], next)
	p.w.change()
}

// BenchmarkLonePair is an upload of one pair on an idle stage: its claim on one shard and its outcome on another, until
// both are committed.
func BenchmarkLonePair(b *testing.B) {
	db := realStore(b)
	w := newWorld(2)
	c := w.config(0, 1)
	c.Store = onlyStore{db}
	c.Consume = func(ctx context.Context, handle handler) error { return w.consumeUnchecked(ctx, handle, 2) }
	c.Send = func(context.Context, string, int, []byte) error { return nil }
	ctx, end := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { Run(ctx, c) })
	run := rand.Uint32()
	for i := range b.N + 5 {
		if i == 5 {
			b.ResetTimer()
		}
		id := []byte(fmt.Sprintf("%08x%08x", run, i))
		claim := part(1, 1, 0, 0, hashOf(0, 2, i))
		claim.Upload = bytes.Clone(id)
		o := &recordpb.Outcomes{Outcomes: []*recordpb.Outcome{{Upload: id, Batch: 1, AcceptedMs: time.Now().UnixMilli(), Claims: 1}},
			Uploads: []*recordpb.Accepted{{Upload: id, Site: "site.example", Count: 1}}}
		w.produce(0, block(claim))
		w.produce(1, outcomes(o))
		if !w.await(w.drained) {
			b.Fatal("not committed")
		}
	}
	b.StopTimer()
	end()
	wg.Wait()
}
