package fastrsa

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"testing"
)

func TestSignaturesAreOrdinaryRSA(t *testing.T) {
	for _, bits := range []int{2048, 3072, 4096, 8192} {
		k, err := Generate(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		if k, err = Parse(k.Marshal()); err != nil {
			t.Fatal(err)
		}
		if got := k.public.N.BitLen(); got != bits {
			t.Fatalf("%d bits, want %d", got, bits)
		}
		for i := range 10 {
			digest := sha256.Sum256([]byte(fmt.Sprint(i)))
			signature, err := k.Sign(nil, digest[:], crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			if err := rsa.VerifyPKCS1v15(&k.public, crypto.SHA256, digest[:], signature); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestParseRefusesWhatIsNoKey(t *testing.T) {
	k, err := Generate(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der := k.Marshal()
	even, err := asn1.Marshal([]*big.Int{new(big.Int).Lsh(big.NewInt(1), 63), new(big.Int).SetUint64(k.primes[0].p)})
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{"nothing": nil, "cut off": der[:len(der)-1], "more": append(bytes.Clone(der), 0), "no primes": even} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%s: it is accepted", name)
		}
	}
}

func TestSizesThatCannotBe(t *testing.T) {
	for _, bits := range []int{0, 64, 2047, 2080, 16384} {
		if _, err := Generate(rand.Reader, bits); err == nil {
			t.Errorf("a key of %d bits was made", bits)
		}
	}
}

func TestModulusAgreesWithBig(t *testing.T) {
	random := mathrand.New(mathrand.NewPCG(1, 2))
	for _, p := range []uint64{1<<64 - 59, 1<<63 + 29} { // the largest and the smallest
		big1 := new(big.Int).SetUint64(p)
		if !big1.ProbablyPrime(0) {
			t.Fatalf("%d is no prime", p)
		}
		m := newModulus(p)
		for _, a := range []uint64{0, 1, 2, p - 1, p - 2, random.Uint64() % p, random.Uint64() % p} {
			for _, b := range []uint64{0, 1, p - 1, random.Uint64() % p} {
				x, y := new(big.Int).SetUint64(a), new(big.Int).SetUint64(b)
				want := new(big.Int).Mod(new(big.Int).Mul(x, y), big1).Uint64()
				if got := m.multiply(m.enter(a), b); got != want {
					t.Errorf("%d * %d mod %d = %d, want %d", a, b, p, got, want)
				}
				want = new(big.Int).Mod(new(big.Int).Add(x, y), big1).Uint64()
				if got := m.add(a, b); got != want {
					t.Errorf("%d + %d mod %d = %d, want %d", a, b, p, got, want)
				}
			}
		}
	}
}

func BenchmarkSign2048(b *testing.B) {
	k, err := Generate(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256(nil)
	for b.Loop() {
		if _, err := k.Sign(nil, digest[:], crypto.SHA256); err != nil {
			b.Fatal(err)
		}
	}
}
