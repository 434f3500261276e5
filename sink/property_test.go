package sink

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

// verified is what must be stored once a log was walked.
type verified struct {
	owners    map[[32]byte]store.Owner
	cosigners map[cosignerKey]hashRow
	results   map[resultKey]store.ResultRow
	uploads   map[uuid.UUID]store.Upload
}

// model walks a log: one map of owners, each partition in its order. It shares no code with the stage.
func model(w *world) verified {
	m := verified{map[[32]byte]store.Owner{}, map[cosignerKey]hashRow{}, map[resultKey]store.ResultRow{}, map[uuid.UUID]store.Upload{}}
	for shard, log := range w.log {
		for _, message := range log {
			v, err := record.DecodeVerified(message.Value)
			if err != nil {
				continue
			}
			for _, c := range v.GetBlock().GetClaims() {
				m.addClaims(c, int32(shard), message.Offset)
			}
			for _, o := range v.GetOutcomes().GetOutcomes() {
				m.addOutcome(o, message.Offset)
			}
			for _, u := range v.GetOutcomes().GetUploads() {
				id := uuid.UUID(u.Upload)
				m.uploads[id] = store.Upload{ID: id, Site: u.Site, Count: u.Count, AcceptedAt: u.AcceptedMs}
			}
		}
	}
	return m
}

func (m *verified) addClaims(c *recordpb.Claims, shard int32, offset int64) {
	r := store.ResultRow{Upload: uuid.UUID(c.Upload), Batch: c.Batch, Shard: shard, Part: c.Part, Site: c.Site, AcceptedAt: c.AcceptedMs,
		LogOffset: offset}
	var added, duplicates []int
	var counts [3][2]uint32 // by signer: added, duplicates
	signature := 0
	for i := range len(c.Hashes) / 32 {
		hash := [32]byte(c.Hashes[32*i:])
		index := uint32(binary.LittleEndian.Uint16(c.Indexes[2*i:]))
		claim := store.Owner{Upload: r.Upload, Position: (c.Batch-1)*1000 + index, Site: c.Site}
		signer, length := 0, int(binary.LittleEndian.Uint16(c.SignatureLengths[2*i:]))
		if len(c.Signer) > 0 {
			signer = int(c.Signer[i])
		}
		if _, ok := m.owners[hash]; !ok {
			m.owners[hash] = claim
		}
		if owner := m.owners[hash]; owner == claim {
			added = append(added, i)
			counts[signer][0]++
		} else {
			duplicates = append(duplicates, i)
			counts[signer][1]++
			row := hashRow{claim.Upload, claim.Position, c.Site, c.AcceptedMs, c.Signers[signer].Algorithm,
				string(c.Signatures[signature : signature+length]), [32]byte(c.Signers[signer].Fingerprint), record.Bit(c.Upper, i)}
			key := cosignerKey{hash, c.Site}
			if was, ok := m.cosigners[key]; owner.Site != c.Site && (!ok || row.before(was)) {
				m.cosigners[key] = row
			}
		}
		signature += length
	}
	for i, s := range c.Signers {
		if n := counts[i]; n[0]+n[1] > 0 {
			r.Certificates = append(r.Certificates, store.CertificateCount{Fingerprint: [32]byte(s.Fingerprint), Added: n[0], Duplicates: n[1]})
		}
	}
	r.Added = modelEntries(c.Hashes, c.Indexes, c.Upper, added)
	r.Duplicates = modelEntries(c.Hashes, c.Indexes, c.Upper, duplicates)
	m.addResult(r)
}

// addResult keeps the offset of the record that is first in the log.
func (m *verified) addResult(r store.ResultRow) {
	if was, ok := m.results[keyOf(&r)]; ok {
		r.LogOffset = was.LogOffset
	}
	m.results[keyOf(&r)] = r
}

func (m *verified) addOutcome(o *recordpb.Outcome, offset int64) {
	r := store.ResultRow{Upload: uuid.UUID(o.Upload), Batch: o.Batch, Shard: -1, Site: o.Site, AcceptedAt: o.AcceptedMs, Claims: o.Claims,
		LogOffset: offset}
	var all []int
	for i := range len(o.BadHashes) / 32 {
		all = append(all, i)
	}
	r.BadSignatures = modelEntries(o.BadHashes, o.BadIndexes, o.BadUpper, all)
	for _, f := range o.Failures {
		r.Errors = append(r.Errors, store.Failure{Index: uint16(f.Index), Text: f.Text, Reason: f.Reason})
	}
	all = nil
	for i := range len(o.FailedHashes) / 32 {
		all = append(all, i)
	}
	r.Failed, r.FailedReason = modelEntries(o.FailedHashes, o.FailedIndexes, o.FailedUpper, all), o.FailedReason
	m.addResult(r)
}

// modelEntries are the hashes at some places of a record's columns: 32 bytes each, indexes of two bytes, and a bitmap
// of those in upper case, which is left out when it would be empty.
func modelEntries(hashes, indexes, upper []byte, places []int) (e store.Entries) {
	bits, some := make([]byte, (len(places)+7)/8), false
	for n, i := range places {
		e.Hashes = append(e.Hashes, hashes[32*i:32*i+32]...)
		e.Indexes = append(e.Indexes, binary.LittleEndian.Uint16(indexes[2*i:]))
		if i/8 < len(upper) && upper[i/8]>>(i%8)&1 != 0 {
			bits[n/8] |= 1 << (n % 8)
			some = true
		}
	}
	if some {
		e.Upper = bits
	}
	return e
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
	calls  int // left; guarded by mu
	after  bool
	perish func()
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

func (d *doomed) InsertSignatures(ctx context.Context, r *store.HashRows) error {
	return d.call(func() error { return d.Store.InsertSignatures(ctx, r) })
}

func (d *doomed) InsertOwners(ctx context.Context, r *store.HashRows) error {
	return d.call(func() error { return d.Store.InsertOwners(ctx, r) })
}

func (d *doomed) InsertCosigners(ctx context.Context, r *store.HashRows) error {
	return d.call(func() error { return d.Store.InsertCosigners(ctx, r) })
}

func (d *doomed) InsertExceptions(ctx context.Context, r []store.ResultRow) error {
	return d.call(func() error { return d.Store.InsertExceptions(ctx, r) })
}

func (d *doomed) InsertOutcomes(ctx context.Context, r []store.ResultRow) error {
	return d.call(func() error { return d.Store.InsertOutcomes(ctx, r) })
}

func (d *doomed) InsertUploads(ctx context.Context, r []store.Upload) error {
	return d.call(func() error { return d.Store.InsertUploads(ctx, r) })
}

func (d *doomed) Owners(ctx context.Context, hashes []byte, into map[[32]byte]store.Owner) error {
	return d.call(func() error { return d.Store.Owners(ctx, hashes, into) })
}

func (d *doomed) CountHashes(ctx context.Context, shard, shards int) (n uint64, err error) {
	err = d.call(func() error { n, err = d.Store.CountHashes(ctx, shard, shards); return err })
	return n, err
}

func (d *doomed) ScanHashes(ctx context.Context, shard, shards int, fn func([]byte) error) error {
	return d.call(func() error { return d.Store.ScanHashes(ctx, shard, shards, fn) })
}

// runDoomed runs a process until it dies at its n-th call to the store, or has nothing left to do and is killed, or
// alive ends. died says whether it died at the call.
func runDoomed(alive context.Context, w *world, c Config, calls int, after bool) (died bool, err error) {
	ctx, kill := context.WithCancel(alive)
	defer kill()
	c.Store = &doomed{Store: c.Store, calls: calls, after: after, perish: func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		died = died || ctx.Err() == nil
		kill()
		w.change()
	}}
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, c) }()
	w.await(func() bool { return ctx.Err() != nil || w.drained() })
	kill()
	err = <-ended
	return died, err
}

// I3, I4, I5: over a store that fails and lies about it, processes that die between any two of their steps, and two
// owners of a shard at once, a log comes to the rows of the model, and the fakes see no promise broken on the way.
func TestAnyCourseGivesTheRowsOfTheLog(t *testing.T) {
	var deaths atomic.Int64
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
			c.LeastInsert = rapid.SampledFrom([]int{1, 3, 1000}).Draw(t, "rows worth an insert")
			c.FullRecord = int64(rapid.SampledFrom([]int{1, 200, 1 << 20}).Draw(t, "bytes of a full record"))
			c.Linger = time.Duration(rapid.SampledFrom([]int{1, 2_000_000}).Draw(t, "linger"))
			c.RecentRows = rapid.SampledFrom([]int{-1, 3, 1000}).Draw(t, "recent rows")
			return c
		}
		alive, kill := context.WithCancel(context.Background())
		defer kill()
		var wg sync.WaitGroup
		for range rapid.IntRange(0, 4).Draw(t, "crashes") {
			c, calls, after := configure(), rapid.IntRange(1, 40).Draw(t, "dies at call"), rapid.Bool().Draw(t, "after it")
			done := make(chan struct{})
			wg.Go(func() {
				defer close(done)
				died, err := runDoomed(alive, w, c, calls, after)
				check(w, err)
				if died {
					deaths.Add(1)
				}
			})
			if rapid.Bool().Draw(t, "dies before the next owner starts") {
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
			t.Fatalf("not all is committed: %v", w.commits())
		}
		kill()
		w.wake() // processes that wait for their death
		waitForAll(t, &wg)
		compare(t, w)
	})
	if deaths.Load() == 0 {
		t.Error("no process died at a call")
	}
}

func check(w *world, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.breaks("Run: %v", err)
	}
}

func waitForAll(t *rapid.T, wg *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("a process didn't end")
	}
}

func compare(t interface{ Fatalf(string, ...any) }, w *world) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.broken {
		t.Fatalf("%s", b)
	}
	want := model(w)
	got := map[[32]byte]store.Owner{}
	for h, r := range w.hashes {
		got[h] = store.Owner{Upload: r.upload, Position: r.position, Site: r.site}
	}
	if !maps.Equal(w.signatures, w.hashes) {
		t.Fatalf("signatures: %v\nowners: %v", w.signatures, w.hashes)
	}
	if !maps.Equal(w.cosigners, want.cosigners) {
		t.Fatalf("cosigners: %v\nwant:      %v", w.cosigners, want.cosigners)
	}
	if !maps.Equal(got, want.owners) {
		t.Fatalf("owners: %v\nwant:   %v", got, want.owners)
	}
	if !maps.Equal(w.uploads, want.uploads) {
		t.Fatalf("uploads: %v\nwant:    %v", w.uploads, want.uploads)
	}
	for key, want := range want.results {
		if want, got := fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", w.results[key]); want != got {
			t.Fatalf("result: %s\nwant:   %s", got, want)
		}
		if _, ok := w.exceptions[key]; ok != want.IsException() {
			t.Fatalf("result with exceptions: %v, stored: %v: %+v", want.IsException(), ok, want)
		}
	}
	if len(want.results) != len(w.results) {
		t.Fatalf("%d results, want %d", len(w.results), len(want.results))
	}
}
