package ecbatch

import (
	"crypto/ecdsa"
	"crypto/rand"
	"math/big"
	"testing"
)

// Whatever the bytes, a Key answers as crypto/ecdsa does. The arguments choose a key and make, in turn, a signature by
// the key with one byte changed, a signature from raw numbers, and arbitrary bytes; they go through one call. The keys
// are on both curves, ordinary and such that their tables collide with the generator's.
func FuzzVerify(f *testing.F) {
	type subject struct {
		key     *Key
		private *ecdsa.PrivateKey
	}
	var subjects []subject
	for _, ifma := range []bool{Supported(), false} {
		for _, curve := range curves {
			sparse := new(big.Int).Lsh(number(1), 128)
			for _, d := range []*big.Int{number(1), sparse.Add(sparse, number(1)), makePrivate(f, curve).D} {
				private := &ecdsa.PrivateKey{PublicKey: *publicOf(curve, d), D: d}
				subjects = append(subjects, subject{withTable(f, &private.PublicKey, ifma), private})
			}
		}
	}
	for _, curve := range curves {
		n, p := curve.Params().N.Bytes(), curve.Params().P.Bytes()
		f.Add(byte(0), make([]byte, 32), uint16(0), n, n, []byte{})
		f.Add(byte(4), n[:32], uint16(0x0103), p, p, []byte{0x30, 6, 2, 1, 1, 2, 1, 1})
		f.Add(byte(8), p[:32], uint16(0x2080), []byte{1}, n, []byte{0x30, 0x81, 6, 2, 1, 1, 2, 1, 1})
	}
	f.Fuzz(func(t *testing.T, choice byte, data []byte, change uint16, r, v, raw []byte) {
		if len(r) > 80 || len(v) > 80 {
			return
		}
		var digest [32]byte
		copy(digest[:], data)
		subject := subjects[int(choice)%len(subjects)]
		var s sample
		signed, err := ecdsa.SignASN1(rand.Reader, subject.private, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		s.add(digest, signed)
		changed := append([]byte(nil), signed...)
		changed[int(change>>8)%len(changed)] ^= byte(change)
		s.add(digest, changed)
		rn, vn := new(big.Int).SetBytes(r), new(big.Int).SetBytes(v)
		s.add(digest, encode(t, rn, vn))
		s.add(digest, encode(t, new(big.Int).Neg(rn), vn))
		s.add(digest, raw)
		s.add(digest, signed)
		if got := mustAgree(t, subject.key, s); got < 2 {
			t.Errorf("%d are valid, want at least the 2 that were signed", got)
		}
	})
}
