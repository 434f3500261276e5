package fastrsa

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"testing"
)

func TestSignaturesAreOrdinaryRSA(t *testing.T) {
	for _, bits := range []int{2048, 3072, 4096} {
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
