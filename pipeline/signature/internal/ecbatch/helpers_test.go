package ecbatch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"testing"
)

var curves = []elliptic.Curve{elliptic.P256(), elliptic.P384()}

// everyWay runs a test for each curve, with the code for every processor and with the kernels, which is skipped where
// this processor can't run them.
func everyWay(t *testing.T, test func(t *testing.T, curve elliptic.Curve, ifma bool)) {
	for _, curve := range curves {
		t.Run("portable/"+curve.Params().Name, func(t *testing.T) { test(t, curve, false) })
		t.Run("avx512ifma/"+curve.Params().Name, func(t *testing.T) {
			needKernels(t)
			test(t, curve, true)
		})
	}
}

// needKernels skips a test on a processor that can't run the kernels.
func needKernels(t testing.TB) {
	t.Helper()
	if !Supported() {
		t.Skip("this processor has no AVX-512 IFMA")
	}
}

func makePrivate(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

// withTable is a Key that doesn't wait for its table to be worth its cost.
func withTable(t testing.TB, public *ecdsa.PublicKey, ifma bool) *Key {
	t.Helper()
	key, err := New(public, ifma)
	if err != nil {
		t.Fatal(err)
	}
	key.seen.Store(worthTable)
	return key
}

// publicOf is the public key d*G.
func publicOf(curve elliptic.Curve, d *big.Int) *ecdsa.PublicKey {
	x, y := curve.ScalarBaseMult(d.Bytes())
	return &ecdsa.PublicKey{Curve: curve, X: x, Y: y}
}

// sample is signatures to be verified under one key.
type sample struct {
	digests    [][32]byte
	signatures [][]byte
}

func (s *sample) add(digest [32]byte, signature []byte) {
	s.digests, s.signatures = append(s.digests, digest), append(s.signatures, signature)
}

func (s *sample) slice(first, last int) sample {
	return sample{s.digests[first:last:last], s.signatures[first:last:last]}
}

// goodSample is n valid signatures of different digests.
func goodSample(t testing.TB, private *ecdsa.PrivateKey, n int) sample {
	t.Helper()
	var s sample
	for i := range n {
		digest := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		signature, err := ecdsa.SignASN1(rand.Reader, private, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		s.add(digest, signature)
	}
	return s
}

// mustAgree checks that key says what crypto/ecdsa says of every signature, and returns how many are valid.
func mustAgree(t *testing.T, key *Key, s sample) int {
	t.Helper()
	valid := make([]bool, len(s.signatures))
	for i := range valid {
		valid[i] = i%2 == 0
	}
	key.Verify(valid, s.digests, s.signatures)
	count := 0
	for i, got := range valid {
		want := ecdsa.VerifyASN1(key.public, s.digests[i][:], s.signatures[i])
		if got != want {
			t.Errorf("%d of %d: the key says %v, crypto/ecdsa %v: digest %x signature %x",
				i, len(valid), got, want, s.digests[i], s.signatures[i])
		}
		if want {
			count++
		}
	}
	return count
}

// encode is the DER of two integers of any sign and size.
func encode(t testing.TB, r, s *big.Int) []byte {
	t.Helper()
	der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func digestOf(e *big.Int) (digest [32]byte) {
	e.FillBytes(digest[:])
	return digest
}

func number(n int64) *big.Int { return big.NewInt(n) }
