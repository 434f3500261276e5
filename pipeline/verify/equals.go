package verify

// Equal pairs of a chunk are found before they are checked: a body may repeat one pair a million times, and compresses
// to almost nothing then.

import (
	"bytes"
	"hash/maphash"
	"sync"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// equals is a table of a chunk's pairs by a hash that nobody outside can foresee.
type equals struct {
	seed  maphash.Seed
	slots [2 * 1024]uint16 // number of a pair, counted from 1; a batch has at most 1000
	ends  [record.BatchSize]int
}

var equalsPool = sync.Pool{New: func() any { return &equals{seed: maphash.MakeSeed()} }}

// find calls repeated for each pair without a verdict that equals an earlier one: same hash, same case, same signature.
func (e *equals) find(c *recordpb.Chunk, verdicts []byte, repeated func(index, first int)) {
	clear(e.slots[:])
	at := 0
	for i, verdict := range verdicts {
		from := at
		at += record.Uint16(c.SignatureLengths, i)
		e.ends[i] = at
		if verdict != bad || at == from {
			continue
		}
		hash := c.Hashes[i*record.HashSize : (i+1)*record.HashSize]
		signature := c.Signatures[from:at]
		slot := (maphash.Bytes(e.seed, hash) + 31*maphash.Bytes(e.seed, signature)) % uint64(len(e.slots))
		for {
			other := int(e.slots[slot]) - 1
			if other < 0 {
				e.slots[slot] = uint16(i + 1)
				break
			}
			if e.same(c, other, i, hash, signature) {
				repeated(i, other)
				break
			}
			slot = (slot + 1) % uint64(len(e.slots))
		}
	}
}

func (e *equals) same(c *recordpb.Chunk, other, i int, hash, signature []byte) bool {
	end := e.ends[other]
	return bytes.Equal(c.Hashes[other*record.HashSize:(other+1)*record.HashSize], hash) &&
		record.Bit(c.Upper, other) == record.Bit(c.Upper, i) &&
		bytes.Equal(c.Signatures[end-record.Uint16(c.SignatureLengths, other):end], signature)
}
