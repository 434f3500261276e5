package verify

// What must hold when the process dies anywhere and records are stored twice.

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// The records of uploads interleave, some are stored twice, appends fail with the record stored or not, and the process
// dies at any time. All that was sealed is forwarded, completely and in the same way each time, and nothing else is
// (I2, I3, I5).
func TestCrashesAndRepetitionsChangeNothing(t *testing.T) {
	var f fakeCerts
	site := newSite(t, &f, "example.com")
	var made []*source
	for i, n := range []int{1, 3, 1200, 2100, 40, 1, 900} {
		made = append(made, newSource(site, fmt.Sprint(i), sparse(n), 500))
	}
	rapid.Check(t, func(rt *rapid.T) {
		l := newMemoryLog()
		sealed := interleave(rt, l, made)
		appends := 0
		crashAt := -1
		l.fault = func(string) (bool, error) {
			appends++
			if appends == crashAt {
				return rapid.Bool().Draw(rt, "stored"), errors.New("no answer")
			}
			return true, nil
		}
		for range rapid.IntRange(0, 4).Draw(rt, "crashes") {
			crashAt = appends + rapid.IntRange(1, 12).Draw(rt, "appends until the crash")
			run(t, l, &f, drawMemory(rt), func() bool { return appends >= crashAt || l.done() })
		}
		crashAt = -1
		run(t, l, &f, drawMemory(rt), l.done)
		check(t, l, sealed...)
		if t.Failed() {
			rt.FailNow()
		}
	})
}

// sparse is mixed, except that of every hundred pairs the last ninety did not parse. Their signatures are not checked,
// so that the many runs of a property do not take long, even without the fast kernels.
func sparse(n int) []string {
	kinds := mixed(n)
	for i := range kinds {
		if i%100 >= 10 {
			kinds[i] = isUnparsed
		}
	}
	return kinds
}

func drawMemory(rt *rapid.T) int64 {
	return rapid.SampledFrom([]int64{0, 60_000, 1 << 30}).Draw(rt, "memory limit")
}

// interleave appends the sources' records in some order, each record perhaps twice, and returns those that were sealed.
func interleave(rt *rapid.T, l *memoryLog, made []*source) (sealed []*source) {
	first := make(map[*source]int64)
	next := make(map[*source]int)
	open := slices.Clone(made)
	for len(open) > 0 {
		i := rapid.IntRange(0, len(open)-1).Draw(rt, "whose turn")
		s := open[i]
		for range rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(rt, "times stored") {
			if at := next[s]; at < len(s.chunks) {
				if o := l.append(chunkRecord(s.chunks[at])); at == 0 {
					if _, known := first[s]; !known {
						first[s] = o
					}
				}
			} else {
				l.append(sealRecord(s.seal(first[s])))
			}
		}
		next[s]++
		switch {
		case next[s] > len(s.chunks):
			sealed = append(sealed, s)
			open = slices.Delete(open, i, i+1)
		case rapid.IntRange(0, 9).Draw(rt, "given up") == 0:
			open = slices.Delete(open, i, i+1)
		}
	}
	return sealed
}

// Two requests with one Idempotency-Key are in flight at once. Each is an attempt of its own, cut into other chunks,
// and together they are one upload (I5).
func TestTwoAttemptsAtAnUploadAreOneUpload(t *testing.T) {
	var f fakeCerts
	site := newSite(t, &f, "example.com")
	one := newSource(site, "twins", sparse(2300), 1000)
	two := one.recut(170)
	rapid.Check(t, func(rt *rapid.T) {
		l := newMemoryLog()
		interleaveWhole(rt, l, one, two)
		for range rapid.IntRange(0, 2).Draw(rt, "crashes") {
			until := int(l.end()) + rapid.IntRange(0, 2).Draw(rt, "decisions until the crash")
			run(t, l, &f, drawMemory(rt), func() bool { return len(l.topics["uploads/0"]) >= until || l.done() })
		}
		run(t, l, &f, drawMemory(rt), l.done)
		check(t, l, one)
		if t.Failed() {
			rt.FailNow()
		}
	})
}

// recut is another attempt with the same pairs, in chunks of at most size.
func (s *source) recut(size int) *source {
	out := *s
	out.attempt, out.chunks = uuid.NewSHA1(s.attempt, nil), nil
	for _, c := range s.chunks {
		signatures := c.Signatures
		for from, n := 0, len(c.Hashes)/record.HashSize; from < n; from += size {
			to := min(from+size, n)
			part := &recordpb.Chunk{
				Attempt: out.attempt[:], Site: c.Site, First: c.First + uint32(from),
				Hashes: c.Hashes[from*record.HashSize : to*record.HashSize], SignatureLengths: c.SignatureLengths[2*from : 2*to],
			}
			bytes := 0
			for i := range to - from {
				bytes += record.Uint16(part.SignatureLengths, i)
				if record.Bit(c.Upper, from+i) {
					part.Upper = record.SetBit(part.Upper, i, to-from)
				}
			}
			part.Signatures, signatures = signatures[:bytes], signatures[bytes:]
			for _, u := range c.Unparsed {
				if i := int(u.Index); from <= i && i < to {
					part.Unparsed = append(part.Unparsed, &recordpb.Unparsed{Index: uint32(i - from), Text: u.Text, Reason: u.Reason})
				}
			}
			out.chunks = append(out.chunks, part)
		}
	}
	return &out
}

// interleaveWhole appends all of every source, in some order.
func interleaveWhole(rt *rapid.T, l *memoryLog, open ...*source) {
	first, next := make(map[*source]int64), make(map[*source]int)
	for len(open) > 0 {
		i := rapid.IntRange(0, len(open)-1).Draw(rt, "whose turn")
		s := open[i]
		if at := next[s]; at < len(s.chunks) {
			if o := l.append(chunkRecord(s.chunks[at])); at == 0 {
				first[s] = o
			}
			next[s]++
			continue
		}
		l.append(sealRecord(s.seal(first[s])))
		open = slices.Delete(open, i, i+1)
	}
}
