package dedupe

import (
	"fmt"
	"maps"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// drawLog makes a log in which everything that makes ownership hard is common: hashes claimed by several uploads, twice
// by one upload, twice in one record, and whole records, or stretches of them, that Kafka or a restarted verifier
// stored again.
func drawLog(t *rapid.T) []claims {
	kinds := rapid.IntRange(1, 40).Draw(t, "distinct hashes")
	log := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) claims {
		return claims{
			upload: uuid.UUID{byte(rapid.IntRange(1, 4).Draw(t, "upload"))},
			hashes: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) [HashSize]byte {
				return [HashSize]byte{byte(rapid.IntRange(0, kinds-1).Draw(t, "hash"))}
			}), 0, 6).Draw(t, "hashes"),
		}
	}), 1, 30).Draw(t, "log")
	next := map[uuid.UUID]uint32{}
	for i := range log {
		c := &log[i]
		c.site = uint64(c.upload[0]) / 2 // uploads 2 and 3 are of one site
		c.key = fmt.Sprint(c.upload[0], "/", next[c.upload])
		for range c.hashes {
			c.positions = append(c.positions, next[c.upload])
			next[c.upload]++
		}
		next[c.upload]++ // so that keys of empty records differ
	}
	for range rapid.IntRange(0, 3).Draw(t, "repeats") {
		from := rapid.IntRange(0, len(log)-1).Draw(t, "from")
		to := rapid.IntRange(from+1, min(len(log), from+8)).Draw(t, "to")
		log = append(log, log[from:to]...)
	}
	return log
}

// I4 and I5: whatever happens to the processes that walk it, a log has the owners and the results that the oracle says.
func TestOwnersDependOnTheLogAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := drawLog(t)
		recent := rapid.SampledFrom([]int{0, 1, 5, 1000}).Draw(t, "recent")
		s := newStore()
		serial := byte(0)
		assign := func() *process { serial++; return s.assign(log, recent, serial) }
		owner := assign()
		var old []*process // they still read and write, but nobody lets them commit
		some, few := rapid.IntRange(1, 8), rapid.IntRange(0, 2)
		t.Repeat(map[string]func(*rapid.T){
			"read":  func(t *rapid.T) { owner.read(some.Draw(t, "records"), few.Draw(t, "units within the run")) },
			"write": func(t *rapid.T) { owner.write(some.Draw(t, "units")) },
			"flush": func(t *rapid.T) { owner.flush(some.Draw(t, "units")) },
			"flush and commit": func(t *rapid.T) {
				s.committed = max(s.committed, owner.flush(some.Draw(t, "units")))
			},
			"crash": func(t *rapid.T) { owner = assign() },
			"rebalance": func(t *rapid.T) {
				old = append(old, owner)
				owner = assign()
			},
			"commit from before": func(t *rapid.T) { // what a broker that lost the last commits does
				s.committed = rapid.IntRange(0, s.committed).Draw(t, "offset")
			},
			"old owner": func(t *rapid.T) {
				if len(old) == 0 {
					t.Skip("none")
				}
				p := rapid.SampledFrom(old).Draw(t, "which")
				p.read(some.Draw(t, "records"), few.Draw(t, "units within the run"))
				p.flush(some.Draw(t, "units"))
			},
			"": func(t *rapid.T) {
				if s.conflict != nil {
					t.Fatal(s.conflict)
				}
			},
		})
		for owner.next < len(log) || len(owner.queue) > 0 {
			owner.read(some.Draw(t, "records"), few.Draw(t, "units within the run"))
			owner.flush(some.Draw(t, "units"))
		}
		wantOwners, wantResults := model(log)
		if s.conflict != nil {
			t.Fatal(s.conflict)
		}
		if !maps.Equal(s.owners, wantOwners) {
			t.Fatalf("owners: %v\nwant:   %v", s.owners, wantOwners)
		}
		if !maps.Equal(s.results, wantResults) {
			t.Fatalf("results: %v\nwant:    %v", s.results, wantResults)
		}
		if n := owner.table.unconfirmed; n != 0 {
			t.Fatalf("%d rows unconfirmed after the last flush", n)
		}
	})
}
