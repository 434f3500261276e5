package rsa52

// From bytes to lanes and from lanes to verdicts.

import (
	"bytes"
	"encoding/binary"
)

// Verify sets valid[i] to whether signatures[i] is a signature of the SHA-256
// digest digests[i], under the contract of signature.Key.Verify. Groups of
// eight that pass the cheap checks share a run of the kernel; a last, smaller
// group leaves lanes idle and takes as long as a full one.
func (k *Key) Verify(valid []bool, digests [][32]byte, signatures [][]byte) {
	w := k.pool.Get().(*work)
	defer k.pool.Put(w)

	var index [lanes]int // of the signature in each lane
	used := 0
	for i, sig := range signatures {
		valid[i] = false
		if len(sig) != len(k.modulus) || bytes.Compare(sig, k.modulus) >= 0 {
			continue
		}
		spread(w.s[:k.blocks*width], used, sig)
		spread(w.h[:digestLimbs], used, digests[i][:])
		index[used] = i
		used++
		if used == lanes {
			k.run(w, valid, index[:])
			used = 0
		}
	}
	if used > 0 {
		k.run(w, valid, index[:used])
	}
}

// run gives the verdicts on the first lanes. The others hold zeros or what they
// held before, which is below n as well; their outcome is ignored.
func (k *Key) run(w *work, valid []bool, index []int) {
	square(w, &k.constants, k.blocks, squarings)
	equal := finish(w, &k.constants, k.blocks)
	for lane, i := range index {
		valid[i] = equal>>lane&1 == 1
	}
}

// digestLimbs is the limbs of a digest, made even. The rest of work.h stays zero.
const digestLimbs = 6

// spread writes the big-endian number to one lane of dst, whose length is even
// and at least enough. Two limbs are thirteen bytes.
func spread(dst []limb, lane int, number []byte) {
	// Zeros before the number, for the limbs that reach beyond it.
	const before = 16
	var padded [before + 4096/8]byte
	end := before + copy(padded[before:], number)
	for i := 0; i < len(dst); i += 2 {
		pair := padded[end-14 : end]
		dst[i][lane] = binary.BigEndian.Uint64(pair[6:]) & limbMask
		dst[i+1][lane] = binary.BigEndian.Uint64(pair) >> 4 & limbMask
		end -= 13
	}
}
