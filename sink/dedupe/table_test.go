package dedupe

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
)

func hashes(seed uint64, n int) []byte {
	next, all := hashesFrom(seed), []byte(nil)
	for range n {
		all = append(all, next()...)
	}
	return all
}

// resolveAll runs all hashes as claims of one upload, positions from 0.
func resolveAll(t *Table, upload byte, hashes []byte, stored map[[HashSize]byte]Owner) (count [4]int) {
	var positions []uint32
	for i := range len(hashes) / HashSize {
		positions = append(positions, uint32(i))
	}
	for _, v := range t.Resolve(hashes, uuid.UUID{upload}, 0, positions, lookup(stored), nil) {
		count[v]++
	}
	return count
}

func lookup(stored map[[HashSize]byte]Owner) func([]byte) (Owner, bool) {
	if stored == nil {
		return nil
	}
	return func(hash []byte) (Owner, bool) {
		owner, ok := stored[[HashSize]byte(hash)]
		return owner, ok
	}
}

// New hashes need no lookup but for the filter's errors; stored ones are all asked for; rows not yet confirmed are
// known.
func TestWhatIsAsked(t *testing.T) {
	table := New(Config{ExpectedHashes: 10_000, Key: [16]byte{1}})
	loaded, fresh := hashes(1, 10_000), hashes(2, 10_000)
	table.Load(loaded[:5000*HashSize])
	table.Load(loaded[5000*HashSize:])
	if ask := table.Probe(loaded, nil); !bytes.Equal(ask, loaded) {
		t.Fatalf("%d of %d loaded hashes are asked for, or in another order", len(ask)/HashSize, len(loaded)/HashSize)
	}
	stored := map[[HashSize]byte]Owner{}
	for i := range len(loaded) / HashSize {
		stored[[HashSize]byte(loaded[i*HashSize:])] = Owner{Upload: uuid.UUID{9}, Position: uint32(i)}
	}
	if got := resolveAll(table, 9, loaded, stored); got != [4]int{Replayed: 10_000} {
		t.Fatalf("claims of the stored owners: %v", got)
	}
	if ask := table.Probe(fresh, nil); len(ask) > 30*HashSize {
		t.Fatalf("%d of 10000 new hashes are asked for", len(ask)/HashSize)
	}
	if got := resolveAll(table, 1, fresh, nil); got != [4]int{Added: 10_000} {
		t.Fatalf("claims of new hashes: %v", got)
	}
	if ask := table.Probe(fresh, nil); len(ask) != 0 {
		t.Fatalf("%d rows that wait to be stored are asked for", len(ask)/HashSize)
	}
	if got := resolveAll(table, 2, fresh, nil); got != [4]int{Duplicate: 10_000} {
		t.Fatalf("claims of another upload: %v", got)
	}
	table.Confirm(10_000)
	if ask := table.Probe(fresh, nil); !bytes.Equal(ask, fresh) {
		t.Fatalf("%d of 10000 confirmed rows are asked for", len(ask)/HashSize)
	}
}

// A Confirm between Probe and Resolve must not make the table forget what Probe relied on.
func TestConfirmWithinARun(t *testing.T) {
	table := New(Config{})
	h := hashes(1, 1)
	table.Probe(h, nil)
	resolveAll(table, 1, h, nil)
	if ask := table.Probe(h, nil); len(ask) != 0 {
		t.Fatal("an unconfirmed row is asked for")
	}
	table.Confirm(1)
	if got := resolveAll(table, 2, h, nil); got != [4]int{Duplicate: 1} {
		t.Fatalf("the second claim: %v", got)
	}
	if ask := table.Probe(h, nil); len(ask) == 0 {
		t.Fatal("a confirmed row is kept beyond the run")
	}
}

// The newest Recent rows are answered from memory after they were confirmed.
func TestRecentRowsNeedNoLookup(t *testing.T) {
	table := New(Config{Recent: 1000})
	h := hashes(1, 3000)
	table.Probe(h, nil)
	resolveAll(table, 1, h, nil)
	table.Confirm(3000)
	if ask := table.Probe(h, nil); !bytes.Equal(ask, h[:2000*HashSize]) {
		t.Fatalf("%d hashes are asked for, want the 2000 oldest", len(ask)/HashSize)
	}
}

// The memory of a loaded table is what the comments say and what Bytes says, and a burst's memory is given back.
func TestMemory(t *testing.T) {
	const n = 4 << 20
	before := heap()
	table := New(Config{ExpectedHashes: n, Recent: 10_000})
	next := hashesFrom(1)
	for range n {
		table.Load(next())
	}
	took := heap() - before
	if got := float64(table.Bytes()) / n; got > 2.51 {
		t.Errorf("%.2f bytes a stored hash, want at most 2.5", got)
	}
	if off := float64(took) / float64(table.Bytes()); off < 0.95 || off > 1.05 {
		t.Errorf("Bytes says %d, the heap grew by %d", table.Bytes(), took)
	}
	filter := table.Bytes()
	burst := hashes(2, 200_000)
	table.Probe(burst, nil)
	resolveAll(table, 1, burst, nil)
	if got := float64(table.Bytes()-filter) / 200_000; got > 136 {
		t.Errorf("%.0f bytes an unconfirmed row, want at most 136", got)
	}
	table.Confirm(200_000)
	if got := table.Bytes() - filter; got > 4*10_000*68 {
		t.Errorf("%d bytes for 10000 recent rows, want at most 272 each", got)
	}
	runtime.KeepAlive(table)
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// 100,000 claims a round over a filter with room for 8 million: to new hashes, and to rows that wait to be stored. The
// machine's other work is left out: cpu-ns/claim is processor time.
func BenchmarkClaims(b *testing.B) {
	const claims, run = 100_000, 8000
	var ask []byte
	var verdicts []Verdict
	positions := make([]uint32, run)
	walk := func(t *Table, upload byte, all []byte) (count [4]int) {
		for ; len(all) > 0; all = all[min(run*HashSize, len(all)):] {
			part := all[:min(run*HashSize, len(all))]
			ask = t.Probe(part, ask[:0])
			verdicts = t.Resolve(part, uuid.UUID{upload}, 0, positions, nil, verdicts[:0])
			for _, v := range verdicts {
				count[v]++
			}
		}
		return count
	}
	measure := func(b *testing.B, round func()) {
		round()
		b.ReportAllocs()
		b.ResetTimer()
		start := cpuTime()
		for range b.N {
			round()
		}
		b.ReportMetric(float64(cpuTime()-start)/float64(b.N)/claims, "cpu-ns/claim")
	}
	all := hashes(1, claims)
	serial := uint64(0)
	renew := func() { // other hashes, at next to no cost
		serial++
		for i := 0; i < len(all); i += HashSize {
			binary.LittleEndian.PutUint64(all[i:], serial)
		}
	}
	b.Run("new", func(b *testing.B) {
		table := New(Config{ExpectedHashes: 8 << 20, Recent: 1 << 14})
		measure(b, func() {
			renew()
			if got := walk(table, 1, all); got[Added] != claims {
				b.Fatal(got)
			}
			table.Confirm(claims)
		})
	})
	b.Run("duplicate", func(b *testing.B) {
		table := New(Config{ExpectedHashes: 8 << 20})
		walk(table, 1, all)
		measure(b, func() {
			if got := walk(table, 2, all); got[Duplicate] != claims {
				b.Fatal(got)
			}
		})
	})
	b.Run("load", func(b *testing.B) {
		table := New(Config{ExpectedHashes: 8 << 20})
		measure(b, func() { renew(); table.Load(all) })
	})
}

// cpuTime is the processor time of this process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A claim to a hash of another site's is told from one to a hash of the same site's, wherever the owner is known from.
func TestClaimsOfOtherSites(t *testing.T) {
	table := New(Config{})
	all := hashes(1, 2)
	table.Load(all[:HashSize])
	stored := lookup(map[[HashSize]byte]Owner{[HashSize]byte(all): {Upload: uuid.UUID{1}, Site: 1}})
	for _, claim := range []struct {
		upload byte
		site   uint64
		want   []Verdict
	}{
		{1, 1, []Verdict{Replayed, Added}},
		{2, 1, []Verdict{Duplicate, Duplicate}},
		{3, 2, []Verdict{Cosigned, Cosigned}},
		{1, 1, []Verdict{Replayed, Replayed}},
	} {
		table.Probe(all, nil)
		got := table.Resolve(all, uuid.UUID{claim.upload}, claim.site, []uint32{0, 1}, stored, nil)
		if !slices.Equal(got, claim.want) {
			t.Errorf("upload %d of site %d: %v, want %v", claim.upload, claim.site, got, claim.want)
		}
	}
}
