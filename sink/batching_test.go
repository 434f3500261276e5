package sink

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/internal/queue"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// Tests in a synctest bubble see the stage come to rest with synctest.Wait, and its waits take no time.

// What arrives while an insert is in flight becomes the next one, of all shards together.
func TestNaturalBatching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(2)
		g := w.hold("signatures")
		r := start(t, w.config(0, 1))
		w.produce(0, block(part(1, 1, 0, 0, hashOf(0, 2, 0))))
		synctest.Wait()
		for i := range 50 {
			w.produce(i%2, block(part(2, uint32(i+1), 0, 0, hashOf(i%2, 2, i+1))))
		}
		synctest.Wait()
		close(g.open)
		r.drain(w)
		r.end(w)
		w.want(t, "signatures", 1, 50)
		w.want(t, "outcomes", 1, 50)
		compare(t, w)
	})
}

// While owners of a flush are inserted, signatures of the next one are, if it is large. Nothing of the second flush
// leads to its signatures before the first one is finished.
func TestLargeFlushesOverlap(t *testing.T) {
	for name, c := range map[string]struct {
		rows, signatures int
		full             bool
	}{
		"small":                   {2, 1, false},
		"large":                   {3, 2, false},
		"large, and more to come": {3, 1, true},
		"twice as large":          {6, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(1)
				g := w.hold("owners")
				config := w.config(0)
				config.LeastInsert = 3
				first := block(part(1, 1, 0, 0, hashOf(0, 1, 0)))
				if c.full {
					config.FullRecord = int64(len(first)) + 1
				}
				r := start(t, config)
				w.produce(0, first)
				synctest.Wait()
				var hashes [][32]byte
				for i := range c.rows {
					hashes = append(hashes, hashOf(0, 1, i+1))
				}
				w.produce(0, block(part(2, 1, 0, 0, hashes...)))
				synctest.Wait()
				if got := w.made("signatures"); len(got) != c.signatures || len(w.made("owners"))+len(w.made("outcomes"))+int(w.commits()[0]) > 0 {
					t.Errorf("while owners are inserted: %q, want %d inserts of signatures and nothing else", w.calls, c.signatures)
				}
				close(g.open)
				r.drain(w)
				r.end(w)
				w.want(t, "owners", 1, c.rows)
				compare(t, w)
			})
		})
	}
}

// The first record of a large upload is not inserted alone: more of the same comes at once. It doesn't wait for long.
func TestFullRecordsWaitForMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		c := w.config(0)
		full := block(part(1, 1, 0, 0, hashOf(0, 1, 0), hashOf(0, 1, 1), hashOf(0, 1, 2)))
		c.FullRecord = int64(len(full))
		r := start(t, c)
		for i := range 2 {
			w.produce(0, full)
			synctest.Wait()
			w.produce(0, block(part(1, 2, 0, 0, hashOf(0, 1, 3))))
			synctest.Wait()
			w.want(t, "outcomes", []int{2, 2}[:i+1]...)
		}
		begun := time.Now()
		w.produce(0, full)
		r.drain(w)
		if took := time.Since(begun); took != comingWait {
			t.Errorf("a full record that nothing follows was stored after %s, want %s", took, comingWait)
		}
		r.end(w)
		compare(t, w)
	})
}

// An insert ends at MaxFlushRows, give or take a record, and the rest follows in order.
func TestFlushIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		g := w.hold("signatures")
		c := w.config(0)
		c.MaxFlushRows = 4
		r := start(t, c)
		w.produce(0, block(part(1, 1, 0, 0, hashOf(0, 1, 0))))
		synctest.Wait()
		for i := range 6 {
			w.produce(0, block(part(2, uint32(i+1), 0, 0, hashOf(0, 1, 2*i+1), hashOf(0, 1, 2*i+2))))
		}
		synctest.Wait()
		close(g.open)
		r.drain(w)
		r.end(w)
		w.want(t, "signatures", 1, 4, 4, 4)
		compare(t, w)
	})
}

// Claims to hashes whose rows are in flight, or were stored recently, are resolved without asking the store.
func TestRecentRowsNeedNoLookup(t *testing.T) {
	for name, stored := range map[string]bool{"in flight": false, "stored": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(1)
				g := w.hold("signatures")
				r := start(t, w.config(0))
				w.produce(0, block(part(1, 1, 0, 0, hashOf(0, 1, 0))))
				if stored {
					close(g.open)
				}
				synctest.Wait()
				w.produce(0, block(part(2, 1, 0, 0, hashOf(0, 1, 0), hashOf(0, 1, 1))))
				synctest.Wait()
				if !stored {
					close(g.open)
				}
				r.drain(w)
				r.end(w)
				w.want(t, "lookup")
				compare(t, w)
			})
		})
	}
}

// While a lookup is in flight, the questions of all other shards become one.
func TestLookupsAreMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const shards = 6
		w := newWorld(shards)
		c := w.config(0, 1, 2, 3, 4, 5)
		c.RecentRows = -1
		registry := prometheus.NewRegistry()
		c.Registerer = registry
		g := w.hold("lookup")
		r := start(t, c)
		for i := range shards {
			w.produce(i, block(part(1, 1, 0, 0, hashOf(i, shards, 0))))
		}
		r.drain(w)
		for i := range shards {
			w.produce(i, block(part(2, 1, 0, 0, hashOf(i, shards, 0))))
			synctest.Wait()
		}
		close(g.open)
		r.drain(w)
		r.end(w)
		lookups := w.made("lookup") // in the order of the answers
		if slices.Sort(lookups); !slices.Equal(lookups, []string{"lookup 1", "lookup 5"}) {
			t.Errorf("lookups: %q, want one of one hash and one of the rest", lookups)
		}
		if got := metric(t, registry, "lookups_total"); got != shards {
			t.Errorf("%g hashes were looked up, want %d", got, shards)
		}
		compare(t, w)
	})
}

// Events that can't be sent hold up nothing; they are given up and counted.
func TestEventsHoldUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.sends = func(ctx context.Context, topic string) error {
			<-ctx.Done()
			return ctx.Err()
		}
		c := w.config(0)
		registry := prometheus.NewRegistry()
		c.Registerer = registry
		r := start(t, c)
		const records = 100
		for i := range records {
			w.produce(0, block(part(1, uint32(i+1), 0, 0, hashOf(0, 1, i))))
			synctest.Wait() // a flush each
			if w.commits()[0] != int64(i+1) {
				t.Fatalf("record %d isn't committed", i)
			}
		}
		stopped := time.Now()
		r.end(w)
		if took := time.Since(stopped); took > 5*time.Second {
			t.Errorf("stopping took %v, want at most SendTimeout", took)
		}
		if got := metric(t, registry, "events_dropped_total"); got != records {
			t.Errorf("%g events were dropped, want %d", got, records)
		}
	})
}

// Beyond a number events aren't kept.
func TestEventsAreBounded(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := newMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	st := &stage{metrics: m, announcements: queue.New[announcement]()}
	some := make([]*recordpb.Event, maxEvents/2)
	st.announce(some, true)
	st.announce(some, false)
	if got := metric(t, registry, "events_dropped_total"); got != 0 {
		t.Errorf("%g of %d events were dropped", got, maxEvents)
	}
	st.announce(some[:3], false)
	if got := metric(t, registry, "events_dropped_total"); got != 3 {
		t.Errorf("%g events beyond %d were dropped, want 3", got, maxEvents)
	}
	if n := st.announcements.Len(); n != maxEvents {
		t.Errorf("%d events wait, want %d", n, maxEvents)
	}
}

// Events are cut into records that brokers take.
func TestEventsFitIntoRecords(t *testing.T) {
	var events []*recordpb.Event
	for range 100 {
		events = append(events, &recordpb.Event{Reason: strings.Repeat("x", 50<<10)})
	}
	huge := &recordpb.Event{Reason: strings.Repeat("x", 2*record.MaxBytes)} // the broker refuses it, and it goes alone
	if n := fitting([]*recordpb.Event{huge, events[0]}); n != 1 {
		t.Errorf("%d events beside one that fits into no record", n)
	}
	for len(events) > 0 {
		n := fitting(events)
		size := len(record.Encode(&recordpb.Events{Events: events[:n]}))
		if n == 0 || size > record.MaxBytes {
			t.Fatalf("%d events in %d bytes", n, size)
		}
		if n < len(events) && size < record.MaxBytes-(60<<10) {
			t.Fatalf("only %d events, %d bytes, in a record", n, size)
		}
		events = events[n:]
	}
}
