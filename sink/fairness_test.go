package sink

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"countersign/pipeline/record/recordpb"
)

// Tests that those who send little don't wait for those who send much.

// claimsOfMany are claims of an upload to hashes of a shard, from number 0 on, so many that a question about them is one
// about many.
func claimsOfMany(upload byte, shard, shards int) (claims []*recordpb.Claims) {
	for batch := range 2 {
		var hashes [][32]byte
		for i := range 1000 {
			hashes = append(hashes, hashOf(shard, shards, 1000*batch+i))
		}
		claims = append(claims, part(upload, uint32(batch+1), 0, 0, hashes...))
	}
	return claims
}

// While somebody's duplicates are looked up, the claims before them in their shard are stored, and a question about one
// hash of another shard is answered.
func TestFewDoNotWaitForTheLookupOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(2)
		w.produce(0, block(claimsOfMany(1, 0, 2)...))
		w.produce(1, block(part(1, 1, 0, 0, hashOf(1, 2, 0))))
		r := start(t, w.config(0, 1))
		r.drain(w)
		r.end(w)

		open := make(chan struct{})
		w.asking = func(ctx context.Context, hashes int) {
			if hashes > fewHashes {
				<-open
			}
		}
		c := w.config(0, 1)
		c.RecentRows = -1
		w.produce(0, block(part(2, 1, 0, 0, hashOf(0, 2, -1))))
		w.produce(0, block(part(3, 1, 0, 0, hashOf(0, 2, 1))))
		w.produce(0, block(claimsOfMany(4, 0, 2)...))
		r = start(t, c)
		synctest.Wait()
		if got := w.commits()[0]; got != 3 {
			t.Errorf("a shard is committed up to %d while what comes then is looked up, want 3", got)
		}
		w.produce(1, block(part(5, 1, 0, 0, hashOf(1, 2, 0))))
		synctest.Wait()
		if got := w.commits()[1]; got != 2 {
			t.Errorf("another shard is committed up to %d, want 2", got)
		}
		close(open)
		r.drain(w)
		r.end(w)
		compare(t, w)
	})
}

// A flood of small uploads keeps the writer busy for half of the time, and a large upload doesn't wait for its rest.
func TestTheWriterRestsBetweenSmallFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const insert = 20 * time.Millisecond
		w := newWorld(1)
		var flushes atomic.Int32
		w.before = func(_ context.Context, call string) {
			if call == "signatures" {
				flushes.Add(1)
				time.Sleep(insert)
			}
		}
		c := w.config(0)
		c.Linger = time.Second
		r := start(t, c)
		sent := 0
		small := func() {
			sent++
			w.produce(0, block(part(1, uint32(sent), 0, 0, hashOf(0, 1, -sent))))
		}
		for range 1000 { // a second
			small()
			time.Sleep(time.Millisecond)
		}
		if got := flushes.Load(); got < 20 || got > 27 {
			t.Errorf("%d flushes in a second, want one in %s", got, 2*insert)
		}
		synctest.Wait()
		for w.commits()[0] < int64(sent) { // until the writer rests
			time.Sleep(time.Millisecond)
		}
		small()
		time.Sleep(insert + time.Millisecond)
		began := time.Now()
		w.produce(0, block(append(claimsOfMany(2, 0, 1), claimsOfMany(3, 0, 1)...)...)) // half are duplicates
		r.drain(w)
		if waited := time.Since(began); waited > 2*insert {
			t.Errorf("a large upload waited %s", waited)
		}
		r.end(w)
		compare(t, w)
	})
}

// Somebody who waits for each upload before the next one is never kept waiting by the writer's rest.
func TestTheWriterDoesNotRestWhereNobodyCameMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const insert = 20 * time.Millisecond
		w := newWorld(1)
		w.before = func(_ context.Context, call string) {
			if call == "signatures" {
				time.Sleep(insert)
			}
		}
		r := start(t, w.config(0))
		began := time.Now()
		for i := range 10 {
			w.produce(0, block(part(1, uint32(i+1), 0, 0, hashOf(0, 1, i))))
			r.drain(w)
		}
		if took := time.Since(began); took != 10*insert {
			t.Errorf("ten uploads took %s, want %s", took, 10*insert)
		}
		r.end(w)
		compare(t, w)
	})
}
