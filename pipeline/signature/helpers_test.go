package signature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"math/big"
	"testing"
)

// everyWay runs a test with the standard library alone and with AVX-512 IFMA. Where this processor doesn't have that,
// it runs the test with what is fastest here, and shows one as skipped.
func everyWay(t *testing.T, test func(t *testing.T, use features)) {
	t.Helper()
	t.Run("generic", func(t *testing.T) { test(t, features{}) })
	fast := detect("")
	if fast != (features{rsa: ifma, ecdsa: ifma}) {
		t.Run(fast.String(), func(t *testing.T) { test(t, fast) })
	}
	t.Run("avx512ifma", func(t *testing.T) {
		if fast.rsa != ifma || fast.ecdsa != ifma {
			t.Skip("this processor has no AVX-512 IFMA")
		}
		test(t, fast)
	})
}

// needFast skips a test of a key for which use has nothing but the standard library.
func needFast(t *testing.T, s signer, use features) {
	t.Helper()
	if _, isRSA := s.pub.(*rsa.PublicKey); isRSA && use.rsa == generic || !isRSA && use.ecdsa == generic || s.name == "P-521" {
		t.Skip("on this processor the standard library verifies such signatures")
	}
}

// standard is the verdict that every implementation has to give.
func standard(pub crypto.PublicKey, digest [32]byte, sig []byte) bool {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(pub, digest[:], sig)
	}
	panic(fmt.Sprintf("no standard for %T", pub))
}

// mustAgree verifies the batch and compares with the standard library; it shows
// the first difference. It returns the verdicts.
func mustAgree(t *testing.T, k *Key, pub crypto.PublicKey, digests [][32]byte, signatures [][]byte) []bool {
	t.Helper()
	valid := make([]bool, len(digests))
	for i := range valid {
		valid[i] = i%2 == 0 // what was there before must not matter
	}
	k.Verify(valid, digests, signatures)
	for i, got := range valid {
		if want := standard(pub, digests[i], signatures[i]); got != want {
			t.Fatalf("%v, signature %d of %d: verdict %v, the standard library says %v\ndigest %x\nsignature %x",
				k.Algorithm(), i, len(valid), got, want, digests[i], signatures[i])
		}
	}
	return valid
}

func mustKey(t testing.TB, pub crypto.PublicKey, use features) *Key {
	t.Helper()
	k, err := newKey(pub, use)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A primeKey is an RSA key whose modulus is a prime. That hides no secret, but
// lets a test choose moduli at the edges and sign whatever it likes; a verifier
// can't tell.
type primeKey struct {
	rsa.PublicKey
	d *big.Int
}

// primeKeys are the primes nearest to the largest and the smallest modulus of
// the common sizes, and of some where the eight-lane code changes its number of
// limbs, as 2^bits + offset; found by search. Under a number that is no prime,
// sign would give what no verifier accepts.
var primeKeys = []struct {
	bits   uint
	offset int64
}{
	{2048, -1557}, {2047, +1919}, {3072, -47}, {3071, +2291}, {4096, -2549}, {4095, +579},
	{2048, +981}, {2567, +309}, {2568, -177},
}

func newPrimeKey(t testing.TB, bits uint, offset int64) *primeKey {
	t.Helper()
	n := new(big.Int).Lsh(big.NewInt(1), bits)
	n.Add(n, big.NewInt(offset))
	k := &primeKey{PublicKey: rsa.PublicKey{N: n, E: 65537}}
	k.d = new(big.Int).ModInverse(big.NewInt(int64(k.E)), new(big.Int).Sub(n, big.NewInt(1)))
	if k.d == nil {
		t.Fatalf("2^%d%+d: no inverse of the exponent", bits, offset)
	}
	return k
}

// sign gives the signature that verifies to the encoded message em, below the modulus.
func (k *primeKey) sign(em []byte) []byte {
	s := new(big.Int).Exp(new(big.Int).SetBytes(em), k.d, k.N)
	return s.FillBytes(make([]byte, k.Size()))
}

// encode is the encoded message of RFC 8017, section 9.2, for SHA-256.
func (k *primeKey) encode(digest [32]byte) []byte {
	info := []byte("\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20")
	em := append([]byte{0, 1}, bytes.Repeat([]byte{255}, k.Size()-3-len(info)-32)...)
	em = append(append(em, 0), info...)
	return append(em, digest[:]...)
}

// digest is some digest, the same for the same number.
func digest(number int) [32]byte { return sha256.Sum256(fmt.Append(nil, number)) }

// signer is a private key that signs digests the way the service wants them.
type signer struct {
	name string
	pub  crypto.PublicKey
	sign func(digest [32]byte) []byte
}

// signers have one key each of RSA with 2048, 3072 and 4096 bits and of ECDSA on each curve.
func signers(t testing.TB) []signer {
	t.Helper()
	var all []signer
	for _, i := range []int{0, 2, 4} {
		k := newPrimeKey(t, primeKeys[i].bits, primeKeys[i].offset)
		all = append(all, signer{
			fmt.Sprintf("RSA-%d", k.N.BitLen()), &k.PublicKey,
			func(digest [32]byte) []byte { return k.sign(k.encode(digest)) },
		})
	}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k, err := ecdsa.ParseRawPrivateKey(curve, bytes.Repeat([]byte{1}, (curve.Params().BitSize+7)/8))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, signer{curve.Params().Name, &k.PublicKey, func(digest [32]byte) []byte {
			sig, err := ecdsa.SignASN1(rand.Reader, k, digest[:])
			if err != nil {
				t.Fatal(err)
			}
			return sig
		}})
	}
	return all
}
