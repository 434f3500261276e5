package sink

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"countersign/pipeline/record/recordpb"
)

// Single signings are told of when they are decided; their rows are stored together, a linger later, and committed then.
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
			if len(w.events) != 2*(i+1) {
				t.Fatalf("%d events after %d signings", len(w.events), i+1)
			}
		}
		if w.want(t, "hashes"); w.committed[0] != 0 {
			t.Errorf("committed %d before anything is stored", w.committed[0])
		}
		time.Sleep(time.Second)
		r.drain(w)
		r.end(w)
		w.want(t, "hashes", 5)
		w.want(t, "results", 10)
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
				if w.committed[0] != 2 {
					t.Errorf("%d records are committed, want both", w.committed[0])
				}
				r.end(w)
				compare(t, w)
			})
		})
	}
}

// A duplicate of a stored hash is told of at once, too.
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
		if n := len(w.events); n != 2 || w.events[1].Duplicates != 1 || w.committed[0] != 1 {
			t.Errorf("events: %v, committed: %d", w.events, w.committed[0])
		}
		time.Sleep(time.Hour)
		r.drain(w)
		r.end(w)
		compare(t, w)
	})
}

// Before the log is durable nothing that isn't stored is told of.
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

// While the store is stuck, a bounded number is told of.
func TestUnstoredSigningsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		g := w.hold("hashes")
		r := start(t, w.config(0))
		const records, each = 5, maxDecided / 4
		for i := range records {
			var claims []*recordpb.Claims
			for j := range each {
				c := singleClaim(1, hashOf(0, 1, i*each+j))
				c.Upload = []byte{byte(i), byte(j), byte(j >> 8), 15: 0}
				claims = append(claims, c)
			}
			w.produce(0, block(claims...))
			synctest.Wait()
		}
		if len(w.events) != maxDecided {
			t.Errorf("%d signings are told of, want %d", len(w.events), maxDecided)
		}
		close(g.open)
		r.drain(w)
		r.end(w)
		if len(w.events) != records*each {
			t.Errorf("%d signings are told of in the end, want %d", len(w.events), records*each)
		}
	})
}
