package sink

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

// Each call fails twice, once without and once after it took effect: the rows are repeated as they were, and what comes
// after a call happens only after its success.
func TestFailedCallsAreRepeated(t *testing.T) {
	w := newWorld(1)
	h := hashOf(0, 1, 1)
	w.hashes[h] = hashRow{upload: uploadID(9)} // so that there is something to look up
	seen := map[string]int{}
	w.fault = func(call string) fault {
		seen[call]++
		return [...]fault{fails, failsButStored, works}[min(seen[call]-1, 2)]
	}
	r := start(t, w.config(0))
	id := uploadID(1)
	w.produce(0, block(part(1, 1, 0, 0, h, hashOf(0, 1, 2))))
	w.produce(0, outcomes(&recordpb.Outcomes{
		Outcomes:     []*recordpb.Outcome{outcome(1, 1, 1)},
		Uploads:      []*recordpb.Accepted{{Upload: id[:], Site: "site1.example", Count: 3}},
		Certificates: []*recordpb.Seen{{Site: "site1.example", Chain: &recordpb.Chain{Certificates: [][]byte{{1}}}}},
	}))
	r.drain(w)
	r.end(w)
	for _, call := range []string{"count", "scan", "lookup", "signatures", "owners", "cosigners", "exceptions", "outcomes", "uploads", "certificates"} {
		if seen[call] < 3 {
			t.Errorf("%s was called %d times", call, seen[call])
		}
	}
	if got := w.results[resultKey{uploadID(1), 1, 0, 0}]; got.Added.Len() != 1 || got.Duplicates.Len() != 1 {
		t.Errorf("result: %+v", got)
	}
}

// The waits between failures double from 50 ms to 5 s, and start anew with the next call.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		var waits []time.Duration
		last := time.Now()
		w.fault = func(call string) fault {
			if call != "signatures" {
				return works
			}
			waits = append(waits, time.Since(last))
			last = time.Now()
			if n := len(waits); n < 10 || n == 11 {
				return fails
			}
			return works
		}
		c := w.config(0)
		c.Backoff = nil
		r := start(t, c)
		w.produce(0, block(part(1, 1, 0, 0, hashOf(0, 1, 0))))
		time.Sleep(time.Minute)
		w.produce(0, block(part(1, 2, 0, 0, hashOf(0, 1, 1))))
		time.Sleep(time.Minute)
		r.end(w)
		var want []time.Duration
		for _, ms := range []int{0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000} {
			want = append(want, time.Duration(ms)*time.Millisecond)
		}
		if !slices.Equal(waits[:10], want) || waits[11] != 50*time.Millisecond {
			t.Errorf("waits: %v\nwant:  %v", waits, want)
		}
		compare(t, w)
	})
}

// Readiness hears of a call from its first failure until it succeeds or is given up, and the operator once a minute.
func TestHealthTellsOfRepeatedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		healthy := time.Now().Add(time.Minute)
		w.fault = func(call string) fault {
			if call == "signatures" && time.Now().Before(healthy) {
				return fails
			}
			return works
		}
		c := w.config(0)
		var log bytes.Buffer
		c.Backoff, c.Health, c.Logger = nil, new(Health), slog.New(slog.NewTextHandler(&log, nil))
		r := start(t, c)
		synctest.Wait()
		if err := c.Health.Check(t.Context()); err != nil {
			t.Errorf("before anything is written: %v", err)
		}
		w.produce(0, block(part(1, 1, 0, 0, hashOf(0, 1, 0))))
		for range 50 {
			time.Sleep(time.Second)
			if err := c.Health.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "signatures") {
				t.Fatalf("while inserts fail: %v", err)
			}
		}
		r.drain(w)
		if err := c.Health.Check(t.Context()); err != nil {
			t.Errorf("after the insert: %v", err)
		}
		if lines := strings.Count(log.String(), "inserting signatures failed"); lines != 1 {
			t.Errorf("%d lines of the log in a minute:\n%s", lines, &log)
		}
		healthy = time.Now().Add(time.Hour)
		w.produce(0, block(part(1, 2, 0, 0, hashOf(0, 1, 1))))
		time.Sleep(time.Second)
		r.end(w) // gives up
		if err := c.Health.Check(t.Context()); err != nil {
			t.Errorf("after the end: %v", err)
		}
	})
}

// While ClickHouse is away nothing is committed and fetching stops at MaxPendingBytes (I6); when it is back all is
// stored, in order.
func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(2)
		w.perFetch = 1
		g := w.hold("signatures", "outcomes")
		c := w.config(0, 1)
		c.MaxPendingBytes = 20_000
		registry := prometheus.NewRegistry()
		c.Registerer = registry
		size := 0
		for i := range 1000 {
			b := block(part(1, uint32(i+1), 0, 0, hashOf(i%2, 2, i), hashOf(i%2, 2, i/2)))
			w.produce(i%2, b)
			size += len(b)
		}
		if size < 4*int(c.MaxPendingBytes) {
			t.Fatalf("only %d bytes", size)
		}
		r := start(t, c)
		synctest.Wait()
		// On top come the records that each shard was resolving, and their rows, which are counted as they are made.
		got, limit := metric(t, registry, "pending_bytes"), float64(c.MaxPendingBytes)
		if got < limit || got > 6*limit {
			t.Errorf("%g bytes are pending, the limit is %g", got, limit)
		}
		if w.commits()[0] != 0 || w.commits()[1] != 0 {
			t.Errorf("committed %v though nothing is stored", w.commits())
		}
		close(g.open)
		r.drain(w)
		r.end(w)
		compare(t, w)
		for _, name := range []string{"pending_bytes", "filter_bytes"} {
			if got := metric(t, registry, name); got != 0 {
				t.Errorf("%s is %g at the end", name, got)
			}
		}
	})
}

// A revoked shard finishes what is in flight, and its offset is committed while the partition is still its own.
func TestRevokedShardDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		g := w.hold("outcomes")
		r := start(t, w.config(0))
		w.produce(0, block(part(1, 1, 0, 0, hashOf(0, 1, 0))))
		synctest.Wait()
		r.stop()
		synctest.Wait()
		close(g.open)
		r.end(w)
		if w.committed[0] != 1 {
			t.Errorf("committed %d, want 1", w.committed[0])
		}
		if len(w.events) != 1 {
			t.Errorf("%d events, want 1", len(w.events))
		}
	})
}

// A revoked shard that can't finish in DrainTimeout is given up, uncommitted.
func TestDrainTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.hold("outcomes")
		c := w.config(0)
		r := start(t, c)
		w.produce(0, block(part(1, 1, 0, 0, hashOf(0, 1, 0))))
		synctest.Wait()
		stopped := time.Now()
		r.end(w)
		if took := time.Since(stopped); took != c.DrainTimeout {
			t.Errorf("stopping took %v, want %v", took, c.DrainTimeout)
		}
		if w.committed[0] != 0 {
			t.Errorf("committed %d", w.committed[0])
		}
		w.before = nil
		r = start(t, w.config(0))
		r.drain(w)
		r.end(w)
		compare(t, w)
	})
}

// A shard that comes back to the process while its earlier rows are still queued is walked anew; the late rows are the
// same, and only the present assignment commits.
func TestShardComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		g := w.hold("signatures")
		c := w.config()
		c.DrainTimeout = time.Millisecond
		revoke := make(chan struct{})
		c.Consume = func(ctx context.Context, handle handler) error { return w.assignTwice(ctx, handle, revoke) }
		r := start(t, c)
		for i := range 4 {
			w.produce(0, block(part(byte(i+1), 1, 0, 0, hashOf(0, 1, 0), hashOf(0, 1, i+1))))
			synctest.Wait()
		}
		close(revoke)
		time.Sleep(time.Second)
		w.produce(0, block(part(9, 1, 0, 0, hashOf(0, 1, 0))))
		synctest.Wait()
		if w.commits()[0] != 0 {
			t.Errorf("committed %d though nothing is stored", w.commits()[0])
		}
		close(g.open)
		r.drain(w)
		r.end(w)
		compare(t, w)
	})
}

// assignTwice assigns partition 0 until revoke is closed, and then again.
func (w *world) assignTwice(ctx context.Context, handle handler, revoke <-chan struct{}) error {
	first, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { w.assign(first, handle, 0) })
	select {
	case <-revoke:
	case <-ctx.Done():
	}
	cancel()
	wg.Wait()
	w.assign(ctx, handle, 0)
	return nil
}

// A scan that breaks off in the middle begins again with an empty filter, and the shard isn't walked before it is
// complete.
func TestScanBreaksOff(t *testing.T) {
	w := newWorld(1)
	for i := range 10 {
		w.hashes[hashOf(0, 1, i)] = hashRow{upload: uploadID(9), position: uint32(i)}
	}
	c := w.config(0)
	c.Store = &breaking{world: w, left: 3}
	r := start(t, c)
	w.produce(0, block(part(1, 1, 0, 0, hashOf(0, 1, 3), hashOf(0, 1, 10))))
	r.drain(w)
	r.end(w)
	if got := w.results[resultKey{uploadID(1), 1, 0, 0}]; got.Added.Len() != 1 || got.Duplicates.Len() != 1 {
		t.Errorf("result: %+v", got)
	}
}

// breaking is a store whose scans break off after a few hashes, some times.
type breaking struct {
	*world
	left int
}

func (b *breaking) ScanHashes(ctx context.Context, shard, shards int, fn func([]byte) error) error {
	n := 0
	return b.world.ScanHashes(ctx, shard, shards, func(hashes []byte) error {
		if n++; b.left > 0 && n > 2*b.left {
			b.left--
			return fmt.Errorf("connection lost: %w", store.ErrUnavailable)
		}
		return fn(hashes)
	})
}
