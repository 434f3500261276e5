package dedupe

import (
	"encoding/binary"
	"math/bits"
)

// Why hashes are hashed again. A real SHA-256 could serve as its own hash code. But anybody may sign 32 bytes of their
// choosing, so bytes that all fall into one block of the filter, or one chain of the index, cost nothing to make (I7).
// SipHash-1-3 under a key that is drawn for each table takes that away, for some ten nanoseconds a hash:
// https://www.aumasson.jp/siphash/siphash.pdf.
//
// Rejected: the hash's own bits, as said; hash/maphash, which is as good, but its seed can't be given and so no test
// could be repeated.

// mixed is 128 bits that depend on all of a hash and on the key. The filter takes its block from the upper half of a
// and its bits from b, the index of recent rows takes the lower half of a: no two of them share a bit.
type mixed struct{ a, b uint64 }

// mixer is the SipHash key.
type mixer struct{ k0, k1 uint64 }

func newMixer(key [16]byte) mixer {
	return mixer{binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])}
}

// mix returns SipHash-1-3 of the first 32 bytes of hash in a, and a second word drawn as SipHash's 128-bit variant does
// in b.
func (m mixer) mix(hash []byte) mixed {
	hash = hash[:HashSize:HashSize]
	v0 := m.k0 ^ 0x736f6d6570736575
	v1 := m.k1 ^ 0x646f72616e646f6d
	v2 := m.k0 ^ 0x6c7967656e657261
	v3 := m.k1 ^ 0x7465646279746573
	for i := 0; i < HashSize; i += 8 {
		w := binary.LittleEndian.Uint64(hash[i:])
		v3 ^= w
		v0, v1, v2, v3 = round(v0, v1, v2, v3)
		v0 ^= w
	}
	const length = HashSize << 56 // the last word of a message of whole words
	v3 ^= length
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	v0 ^= length

	v2 ^= 0xff
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	a := v0 ^ v1 ^ v2 ^ v3

	v1 ^= 0xdd
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	return mixed{a: a, b: v0 ^ v1 ^ v2 ^ v3}
}

// round is SipRound.
func round(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 += v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
