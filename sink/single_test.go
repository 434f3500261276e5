package sink

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// Single signings are announced when they are decided. Their rows are stored together, a linger later, and committed then.
func TestSingleSigningsLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		c := w.config(0)
		c.Linger = time.Second
		r := start(t, c)
		for i := range 5 {
			w.produce(0, block(singleClaim(byte(i+1), hashOf(0, 1, i))))
			w.produce(0, outcomes(singleOutcome(byte(i+1))))
			synctest.Wait()
			if w.numberOfEvents() != 2*(i+1) {
				t.Fatalf("%d events after %d signings", w.numberOfEvents(), i+1)
			}
		}
		if w.want(t, "signatures"); w.commits()[0] != 0 {
			t.Errorf("committed %d before anything is stored", w.commits()[0])
		}
		time.Sleep(time.Second)
		r.drain(w)
		r.end(w)
		w.want(t, "signatures", 5)
		w.want(t, "outcomes", 10)
		w.want(t, "uploads", 5)
		if len(w.events) != 10 {
			t.Errorf("%d events, want each once", len(w.events))
		}
		compare(t, w)
	})
}

// What somebody waits for takes along what lingers.
func TestOthersDontLinger(t *testing.T) {
	certificate := singleOutcome(2)
	certificate.Certificates = []*recordpb.Seen{{Site: "site.example", Chain: &recordpb.Chain{Certificates: [][]byte{{1}}}}}
	for name, value := range map[string][]byte{
		"an upload":                             block(part(3, 1, 0, 0, hashOf(0, 1, 1))),
		"a single signing among an upload":      block(singleClaim(2, hashOf(0, 1, 1)), part(3, 1, 0, 0, hashOf(0, 1, 2))),
		"a certificate":                         outcomes(certificate),
		"a duplicate of what isn't stored yet":  block(singleClaim(2, hashOf(0, 1, 0))),
		"two signings of one hash, in a record": block(singleClaim(2, hashOf(0, 1, 1)), singleClaim(3, hashOf(0, 1, 1))),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(1)
				c := w.config(0)
				c.Linger = time.Hour
				r := start(t, c)
				w.produce(0, block(singleClaim(1, hashOf(0, 1, 0))))
				synctest.Wait()
				w.produce(0, value)
				synctest.Wait()
				if w.commits()[0] != 2 {
					t.Errorf("%d records are committed, want both", w.commits()[0])
				}
				r.end(w)
				compare(t, w)
			})
		})
	}
}

// A duplicate of a stored hash is announced at once, too.
func TestSingleDuplicateOfStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		c := w.config(0)
		c.Linger = time.Hour
		r := start(t, c)
		w.produce(0, block(part(1, 1, 0, 0, hashOf(0, 1, 0))))
		synctest.Wait()
		w.produce(0, block(singleClaim(2, hashOf(0, 1, 0))))
		synctest.Wait()
		if events, committed := w.announcedEvents(), w.commits()[0]; len(events) != 2 || events[1].Duplicates != 1 || committed != 1 {
			t.Errorf("events: %v, committed: %d", events, committed)
		}
		time.Sleep(time.Hour)
		r.drain(w)
		r.end(w)
		compare(t, w)
	})
}

// Before the log is durable nothing that isn't stored is announced.
func TestUnflushedLogTellsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		c := w.config(0)
		c.FlushLog = func(context.Context) error { return errInjected }
		r := start(t, c)
		w.produce(0, block(singleClaim(1, hashOf(0, 1, 0))))
		r.drain(w)
		r.end(w)
		if len(w.events) != 0 {
			t.Errorf("events: %v", w.events)
		}
		compare(t, w)
	})
}

// While the store is stuck, each shard announces its share of single signings and no more; it goes on when they are stored.
func TestUnstoredSigningsOfAShardAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const shards, records = 16, 5
		share := record.MaxUnstoredSinglesOfShard(shards)
		w := newWorld(shards)
		g := w.hold("signatures")
		r := start(t, w.config(0, 1))
		w.produceSingles(0, records, share/4)
		w.produceSingles(1, records, share/4)
		synctest.Wait()
		for shard, n := range w.announcedByShard()[:2] {
			if n != share {
				t.Errorf("shard %d announced %d signings that aren't stored, want %d", shard, n, share)
			}
		}
		close(g.open)
		r.drain(w)
		r.end(w)
		if n := w.numberOfEvents(); n != 2*records*(share/4) {
			t.Errorf("%d signings are announced in the end, want %d", n, 2*records*(share/4))
		}
		compare(t, w)
	})
}

// A shard that is revoked leaves its share behind, and so its next owner has a whole one. Both walk the same records, so what both
// have announced is no more than a share, either.
func TestNextOwnerOfAShardHasAShareOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const shards, records = 16, 5
		share := record.MaxUnstoredSinglesOfShard(shards)
		w := newWorld(shards)
		g := w.hold("signatures")
		c := w.config()
		c.DrainTimeout = time.Millisecond
		revoke := make(chan struct{})
		c.Consume = func(ctx context.Context, handle handler) error { return w.assignTwice(ctx, handle, revoke) }
		r := start(t, c)
		w.produceSingles(0, records, share/4)
		synctest.Wait()
		before := w.numberOfEvents()
		close(revoke)
		time.Sleep(time.Second)
		synctest.Wait()
		if again := w.numberOfEvents() - before; before != share || again != share {
			t.Errorf("the owners announced %d and %d signings, want %d each", before, again, share)
		}
		if n := w.announcedByShard()[0]; n != share {
			t.Errorf("%d different signings are announced and not stored, want %d", n, share)
		}
		close(g.open)
		r.drain(w)
		r.end(w)
		compare(t, w)
	})
}

// The shares of all shards leave room for two owners each in what every ingest process keeps.
func TestSharesFitIntoWhatIsKept(t *testing.T) {
	for shards := 1; shards <= record.MaxUnstoredSingles/2; shards++ {
		if n := 2 * shards * record.MaxUnstoredSinglesOfShard(shards); n > record.MaxUnstoredSingles {
			t.Fatalf("%d shards may announce %d signings", shards, n)
		}
	}
}

// produceSingles appends records of single signings to a partition, each of a hash of its own.
func (w *world) produceSingles(shard, records, each int) {
	for i := range records {
		var claims []*recordpb.Claims
		for j := range each {
			c := singleClaim(1, hashOf(shard, len(w.log), i*each+j))
			c.Upload = []byte{byte(i), byte(j), byte(j >> 8), byte(shard), 15: 0}
			claims = append(claims, c)
		}
		w.produce(shard, block(claims...))
	}
}

// announcedByShard is how many different hashes events have brought.
func (w *world) announcedByShard() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]int, len(w.log))
	for hash := range w.announced {
		all[record.Shard(hash[:], len(w.log))]++
	}
	return all
}
