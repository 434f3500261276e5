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
// and enough for it.
func spread(dst []limb, lane int, number []byte) {
	for len(number) >= 14 {
		spreadPair(dst, lane, number[len(number)-14:])
		dst, number = dst[2:], number[:len(number)-13]
	}
	var last [14]byte
	copy(last[len(last)-len(number):], number)
	spreadPair(dst, lane, last[:])
	for i := range dst[2:] {
		dst[2+i][lane] = 0
	}
}

// spreadPair writes the lower 104 bits of a number of 14 bytes as two limbs.
func spreadPair(dst []limb, lane int, number []byte) {
	dst[0][lane] = binary.BigEndian.Uint64(number[6:14]) & limbMask
	dst[1][lane] = binary.BigEndian.Uint64(number[0:8]) >> 4 & limbMask
}
