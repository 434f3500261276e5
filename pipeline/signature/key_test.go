package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"testing"
)

func TestVerifiesWhatTheStandardLibrarySigned(t *testing.T) {
	digest := sha256.Sum256([]byte("a file"))
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, signer := range []crypto.Signer{rsaKey, ecKey} {
		k, err := NewKey(signer.Public())
		if err != nil {
			t.Fatal(err)
		}
		sig, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if !k.Fits(sig) {
			t.Errorf("%v: a genuine signature of %d bytes doesn't fit", k.Algorithm(), len(sig))
		}
		valid := make([]bool, 2)
		k.Verify(valid, [][32]byte{digest, {1}}, [][]byte{sig, sig})
		if !valid[0] || valid[1] {
			t.Errorf("%v: verdicts %v, want [true false]", k.Algorithm(), valid)
		}
	}
}

func TestUnsupportedKeysAreRefused(t *testing.T) {
	for _, pub := range []crypto.PublicKey{nil, 1, (*rsa.PublicKey)(nil), &rsa.PublicKey{E: 3}, (*ecdsa.PublicKey)(nil), &ecdsa.PublicKey{}} {
		if _, err := NewKey(pub); !errors.Is(err, ErrUnsupportedKey) {
			t.Errorf("%T: error %v, want ErrUnsupportedKey", pub, err)
		}
	}
}
