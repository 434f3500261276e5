package ecbatch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"testing"
)

func makeKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func makeSignatures(t testing.TB, key *ecdsa.PrivateKey, n int) (digests [][32]byte, signatures [][]byte) {
	for i := range n {
		digest := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		digests, signatures = append(digests, digest), append(signatures, signature)
	}
	return digests, signatures
}

func TestGoodSignatures(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
		private := makeKey(t, curve)
		key, err := New(&private.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		digests, signatures := makeSignatures(t, private, 300)
		digests[7][3]++
		valid := make([]bool, 300)
		key.Verify(valid, digests, signatures)
		for i, ok := range valid {
			if ok != (i != 7) {
				t.Errorf("%s: signature %d: %v", curve.Params().Name, i, ok)
			}
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
		private := makeKey(b, curve)
		key, err := New(&private.PublicKey)
		if err != nil {
			b.Fatal(err)
		}
		for _, n := range []int{1, 2, 4, 8, 16, 64, 1000} {
			digests, signatures := makeSignatures(b, private, n)
			valid := make([]bool, n)
			b.Run(curve.Params().Name+"/"+key.Kind()+"/"+strconv.Itoa(n), func(b *testing.B) {
				key.seen.Store(1000)
				key.build()
				for b.Loop() {
					key.Verify(valid, digests, signatures)
				}
				b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "verify/s")
			})
		}
		digests, signatures := makeSignatures(b, private, 1)
		b.Run(curve.Params().Name+"/crypto", func(b *testing.B) {
			for b.Loop() {
				ecdsa.VerifyASN1(&private.PublicKey, digests[0][:], signatures[0])
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "verify/s")
		})
		b.Run(curve.Params().Name+"/build", func(b *testing.B) {
			for b.Loop() {
				key.newEngine()
			}
		})
	}
}
