package sink

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

// model is what must be stored once a log was walked: one map, each partition in its order.
func model(w *world) (map[[32]byte]store.Owner, map[resultKey]store.ResultRow) {
	owners, results := map[[32]byte]store.Owner{}, map[resultKey]store.ResultRow{}
	for shard, log := range w.log {
		for _, m := range log {
			v, err := record.DecodeVerified(m.Value)
			if err != nil {
				continue
			}
			for _, c := range v.GetBlock().GetClaims() {
				r := modelResult(c, owners)
				r.Shard = int32(shard)
				results[keyOf(&r)] = r
			}
			var out rows
			out.addOutcomes(v.GetOutcomes())
			for _, r := range out.results {
				results[keyOf(&r)] = cloneResult(r)
			}
		}
	}
	return owners, results
}

func modelResult(c *recordpb.Claims, owners map[[32]byte]store.Owner) store.ResultRow {
	r := store.ResultRow{Upload: uuid.UUID(c.Upload), Batch: c.Batch, Part: c.Part, AcceptedAt: c.AcceptedMs}
	var upper [2][]bool
	for i := range len(c.Hashes) / 32 {
		hash := [32]byte(c.Hashes[32*i:])
		index := record.Uint16(c.Indexes, i)
		claim := store.Owner{Upload: r.Upload, Position: (c.Batch-1)*1000 + uint32(index)}
		if _, ok := owners[hash]; !ok {
			owners[hash] = claim
		}
		e, u := &r.Added, &upper[0]
		if owners[hash] != claim {
			e, u = &r.Duplicates, &upper[1]
		}
		e.Hashes, e.Indexes, *u = append(e.Hashes, hash[:]...), append(e.Indexes, uint16(index)), append(*u, record.Bit(c.Upper, i))
	}
	for i, e := range []*store.Entries{&r.Added, &r.Duplicates} {
		for j, set := range upper[i] {
			if set {
				e.Upper = record.SetBit(e.Upper, j, e.Len())
			}
		}
	}
	return r
}

// drawLog fills the partitions: blocks of claims to few hashes, outcomes, junk, and stretches that are there twice.
func drawLog(t *rapid.T, w *world) {
	shards := len(w.log)
	kinds := rapid.IntRange(1, 30).Draw(t, "distinct hashes")
	batches, singles := map[byte]uint32{}, byte(100)
	for range rapid.IntRange(1, 25).Draw(t, "records") {
		shard := rapid.IntRange(0, shards-1).Draw(t, "shard")
		claims := func() *recordpb.Claims {
			upload := byte(rapid.IntRange(1, 4).Draw(t, "upload"))
			batches[upload]++
			var hashes [][32]byte
			for range rapid.IntRange(0, 5).Draw(t, "claims") {
				hashes = append(hashes, hashOf(shard, shards, rapid.IntRange(1, kinds).Draw(t, "hash")))
			}
			return part(upload, batches[upload], 0, rapid.IntRange(0, 5).Draw(t, "first index"), hashes...)
		}
		switch rapid.SampledFrom([]string{"block", "block", "block", "single", "single", "outcome", "junk", "repeat"}).Draw(t, "kind") {
		case "block":
			var b []*recordpb.Claims
			for range rapid.IntRange(1, 3).Draw(t, "parts") {
				b = append(b, claims())
			}
			w.produce(shard, block(b...))
		case "outcome":
			upload := byte(rapid.IntRange(1, 4).Draw(t, "upload"))
			batches[upload]++
			id := uploadID(upload)
			w.produce(shard, outcomes(&recordpb.Outcomes{Outcomes: []*recordpb.Outcome{outcome(upload, batches[upload], 3)},
				Uploads: []*recordpb.Accepted{{Upload: id[:], Site: "site.example", Count: 5}}}))
		case "single":
			var b []*recordpb.Claims
			for range rapid.IntRange(1, 3).Draw(t, "singles") {
				singles++
				b = append(b, singleClaim(singles, hashOf(shard, shards, rapid.IntRange(1, kinds).Draw(t, "hash"))))
			}
			if rapid.Bool().Draw(t, "beside others") {
				b = append(b, claims())
			}
			w.produce(shard, block(b...))
			w.produce(rapid.IntRange(0, shards-1).Draw(t, "shard of the outcome"), outcomes(singleOutcome(singles)))
		case "junk":
			w.produce(shard, []byte{0xff})
		case "repeat":
			if n := len(w.log[shard]); n > 0 {
				from := rapid.IntRange(0, n-1).Draw(t, "from")
				for _, m := range w.log[shard][from:] {
					w.produce(shard, m.Value)
				}
			}
		}
	}
}

// doomed is the store of a process that dies at its n-th call: before it, or after it took effect.
type doomed struct {
	Store
	mu     sync.Mutex
	calls  int
	after  bool
	perish context.CancelFunc
}

func (d *doomed) call(do func() error) error {
	d.mu.Lock()
	d.calls--
	dead := d.calls == 0
	d.mu.Unlock()
	if dead && !d.after {
		d.perish()
	}
	err := do()
	if dead {
		d.perish()
	}
	return err
}

func (d *doomed) InsertHashes(ctx context.Context, r *store.HashRows) error {
	return d.call(func() error { return d.Store.InsertHashes(ctx, r) })
}

func (d *doomed) InsertResults(ctx context.Context, r []store.ResultRow) error {
	return d.call(func() error { return d.Store.InsertResults(ctx, r) })
}

func (d *doomed) InsertUploads(ctx context.Context, r []store.Upload) error {
	return d.call(func() error { return d.Store.InsertUploads(ctx, r) })
}

func (d *doomed) Owners(ctx context.Context, hashes []byte, into map[[32]byte]store.Owner) error {
	return d.call(func() error { return d.Store.Owners(ctx, hashes, into) })
}

func (d *doomed) ScanHashes(ctx context.Context, shard, shards int, fn func([]byte) error) error {
	return d.call(func() error { return d.Store.ScanHashes(ctx, shard, shards, fn) })
}

// I3, I4, I5: over a store that fails and lies about it, processes that die between any two of their steps, and two owners of a shard at
// once, a log comes to the rows of the model, and the fakes see no promise broken on the way.
func TestAnyCourseGivesTheRowsOfTheLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shards := rapid.IntRange(1, 3).Draw(t, "shards")
		w := newWorld(shards)
		w.perFetch = rapid.IntRange(0, 4).Draw(t, "records a fetch")
		drawLog(t, w)
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "faults"), 0))
		share := rapid.SampledFrom([]int{0, 3, 10}).Draw(t, "faults of 10")
		w.fault = func(string) fault { // called under w.mu
			if rnd.IntN(10) >= share {
				return works
			}
			return fault(rnd.IntN(2) + 1)
		}
		all := make([]int, shards)
		for i := range all {
			all[i] = i
		}
		configure := func() Config {
			c := w.config(all...)
			c.Backoff = func(int) time.Duration { return time.Microsecond }
			c.DrainTimeout = time.Nanosecond // dies rather than ends
			c.MaxPendingBytes = int64(rapid.SampledFrom([]int{1, 500, 100_000}).Draw(t, "pending bytes"))
			c.MaxFlushRows = rapid.SampledFrom([]int{1, 4, 1000}).Draw(t, "rows a flush")
			c.Linger = time.Duration(rapid.SampledFrom([]int{1, 2_000_000}).Draw(t, "linger"))
			c.RecentRows = rapid.SampledFrom([]int{-1, 3, 1000}).Draw(t, "recent rows")
			return c
		}
		alive, kill := context.WithCancel(context.Background())
		defer kill()
		var wg sync.WaitGroup
		for range rapid.IntRange(0, 4).Draw(t, "crashes") {
			ctx, perish := context.WithCancel(alive)
			defer perish()
			c := configure()
			c.Store = &doomed{Store: w, calls: rapid.IntRange(1, 40).Draw(t, "dies at call"), after: rapid.Bool().Draw(t, "after it"), perish: perish}
			done := make(chan struct{})
			wg.Go(func() { check(w, Run(ctx, c)); close(done) })
			if rapid.Bool().Draw(t, "dies before the next owner starts") {
				time.AfterFunc(5*time.Millisecond, perish)
				<-done
			}
		}
		w.mu.Lock()
		if rapid.Bool().Draw(t, "commits were lost") {
			for p := range w.committed {
				w.committed[p] = rapid.Int64Range(0, w.committed[p]).Draw(t, "committed")
			}
		}
		share = min(share, 3)
		w.mu.Unlock()
		c := configure()
		wg.Go(func() { check(w, Run(alive, c)) })
		if !w.await(w.drained) {
			t.Fatalf("not all is committed: %v", w.committed)
		}
		kill()
		waitOrDie(t, &wg)
		compare(t, w)
	})
}

func check(w *world, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.breaks("Run: %v", err)
	}
}

func waitOrDie(t *rapid.T, wg *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("a process didn't end")
	}
}

func compare(t interface{ Fatalf(string, ...any) }, w *world) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.broken {
		t.Fatalf("%s", b)
	}
	owners, results := model(w)
	got := map[[32]byte]store.Owner{}
	for h, r := range w.hashes {
		got[h] = store.Owner{Upload: r.upload, Position: r.position}
	}
	if !maps.Equal(got, owners) {
		t.Fatalf("owners: %v\nwant:   %v", got, owners)
	}
	for key, want := range results {
		if want, got := fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", w.results[key]); want != got {
			t.Fatalf("result: %s\nwant:   %s", got, want)
		}
	}
	if len(results) != len(w.results) {
		t.Fatalf("%d results, want %d", len(w.results), len(results))
	}
}
