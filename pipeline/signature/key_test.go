package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"

	"countersign/pipeline/signature/internal/ecbatch"
	"countersign/pipeline/signature/internal/rsa52"
)

func TestUnsupportedKeysAreRefusedWithARemedy(t *testing.T) {
	odd := func(bits uint) *big.Int {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return n.SetBit(n, 0, 1)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), nil)
	if err != nil {
		t.Fatal(err)
	}
	gx, gy := elliptic.P256().Params().Gx, elliptic.P256().Params().Gy
	zero := new(big.Int)
	for name, pub := range map[string]crypto.PublicKey{
		"nothing":             nil,
		"Ed25519":             ed25519.PublicKey(make([]byte, 32)),
		"RSA by value":        rsa.PublicKey{N: odd(2048), E: 65537},
		"no RSA key":          (*rsa.PublicKey)(nil),
		"no modulus":          &rsa.PublicKey{E: 65537},
		"modulus zero":        &rsa.PublicKey{N: zero, E: 65537},
		"modulus negative":    &rsa.PublicKey{N: new(big.Int).Neg(odd(2048)), E: 65537},
		"modulus even":        &rsa.PublicKey{N: new(big.Int).Lsh(odd(2047), 1), E: 65537},
		"modulus short":       &rsa.PublicKey{N: odd(2047), E: 65537},
		"modulus long":        &rsa.PublicKey{N: odd(8193), E: 65537},
		"exponent even":       &rsa.PublicKey{N: odd(2048), E: 65536},
		"exponent one":        &rsa.PublicKey{N: odd(2048), E: 1},
		"exponent negative":   &rsa.PublicKey{N: odd(2048), E: -3},
		"exponent large":      &rsa.PublicKey{N: odd(2048), E: 1<<31 + 1},
		"no ECDSA key":        (*ecdsa.PublicKey)(nil),
		"no curve":            &ecdsa.PublicKey{X: gx, Y: gy},
		"no point":            &ecdsa.PublicKey{Curve: elliptic.P256()},
		"P-224":               &p224.PublicKey,
		"off the curve":       &ecdsa.PublicKey{Curve: elliptic.P256(), X: gx, Y: gx},
		"infinity":            &ecdsa.PublicKey{Curve: elliptic.P256(), X: zero, Y: zero},
		"negative coordinate": &ecdsa.PublicKey{Curve: elliptic.P256(), X: gx, Y: new(big.Int).Neg(gy)},
		"large coordinate":    &ecdsa.PublicKey{Curve: elliptic.P256(), X: gx, Y: new(big.Int).Lsh(gy, 9)},
	} {
		k, err := NewKey(pub)
		if !errors.Is(err, ErrUnsupportedKey) || k != nil {
			t.Errorf("%s: key %v, error %v, want ErrUnsupportedKey", name, k, err)
			continue
		}
		if !strings.Contains(err.Error(), "; use ") && !strings.Contains(err.Error(), "; renew ") {
			t.Errorf("%s: %q names no remedy", name, err)
		}
	}
}

// NewKey accepts no key that crypto/rsa refuses: under such a key every signature would be called bad.
func TestEdgesOfAcceptedRSAKeysVerify(t *testing.T) {
	for _, e := range []int{5, 17, 65537, 1<<31 - 1} {
		k := newPrimeKey(t, 2048, -1557)
		k.E = e
		if k.d.ModInverse(big.NewInt(int64(e)), new(big.Int).Sub(k.N, big.NewInt(1))) == nil {
			t.Fatalf("exponent %d can't sign under this prime: choose another", e)
		}
		everyWay(t, func(t *testing.T, use features) {
			valid := mustAgree(t, mustKey(t, &k.PublicKey, use), &k.PublicKey,
				[][32]byte{digest(1), digest(2)}, [][]byte{k.sign(k.encode(digest(1))), k.sign(k.encode(digest(1)))})
			if !valid[0] || valid[1] {
				t.Errorf("exponent %d: verdicts %v, want [true false]", e, valid)
			}
		})
	}
}

func TestAlgorithmNamesAreStable(t *testing.T) {
	want := map[Algorithm]string{
		0: "invalid", RSA: "RSA-PKCS1-SHA256", ECDSAP256: "ECDSA-P256-SHA256",
		ECDSAP384: "ECDSA-P384-SHA256", ECDSAP521: "ECDSA-P521-SHA256", 200: "invalid",
	}
	for a, name := range want {
		if a.String() != name {
			t.Errorf("algorithm %d is named %q, want %q", a, a, name)
		}
	}
}

func TestGenuineSignaturesFitTheirKeyOnly(t *testing.T) {
	all := signers(t)
	for _, s := range all {
		sig := s.sign(digest(0))
		if k := mustKey(t, s.pub, features{}); !k.Fits(sig) || k.Fits(nil) || k.Fits(sig[:1]) || k.Fits(make([]byte, 1025)) {
			t.Errorf("%s: Fits is wrong about a signature, none, a byte or 1025 bytes", s.name)
		}
		_, isRSA := s.pub.(*rsa.PublicKey)
		for _, other := range all {
			if _, otherRSA := other.pub.(*rsa.PublicKey); isRSA != otherRSA && mustKey(t, other.pub, features{}).Fits(sig) {
				t.Errorf("a signature under %s fits a key on %s", s.name, other.name)
			}
		}
	}
}

// The longest encodings there are must not be turned away: r and s of full length with their leading zero.
func TestLongestDERFits(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		s := new(big.Int).Sub(curve.Params().N, big.NewInt(1)).Bytes()
		if s[0] >= 0x80 {
			s = append([]byte{0}, s...)
		}
		body := append(append(append([]byte{2, byte(len(s))}, s...), 2, byte(len(s))), s...)
		sig := append([]byte{0x30, byte(len(body))}, body...)
		if len(body) > 127 {
			sig = append([]byte{0x30, 0x81, byte(len(body))}, body...)
		}
		private, err := ecdsa.GenerateKey(curve, nil)
		if err != nil {
			t.Fatal(err)
		}
		if k := mustKey(t, &private.PublicKey, features{}); !k.Fits(sig) || k.maxLen != len(sig) {
			t.Errorf("%s: longest signature is %d bytes, the limit %d", curve.Params().Name, len(sig), k.maxLen)
		}
	}
}

func TestDifferentLengthsPanic(t *testing.T) {
	k := mustKey(t, signers(t)[0].pub, features{})
	defer func() {
		if recover() == nil {
			t.Error("Verify accepted two digests for one signature")
		}
	}()
	k.Verify(make([]bool, 1), make([][32]byte, 2), make([][]byte, 1))
}

func TestGenericSettingTurnsFastPathsOff(t *testing.T) {
	if got := detect("generic").String(); got != "rsa=generic ecdsa=generic" {
		t.Errorf("COUNTERSIGN_CPU=generic gives %q", got)
	}
	if detect("") != detect("other") {
		t.Error("a setting other than generic changes the choice")
	}
}

// What is reported is what runs: the same value names the implementation and chooses it.
func TestFeaturesNameWhatRuns(t *testing.T) {
	want := map[bool]string{true: "avx512ifma", false: "generic"}[rsa52.Supported()]
	if got := detect("").rsa.String(); got != want {
		t.Errorf("RSA is verified by %q, want %q", got, want)
	}
	want = map[bool]string{true: "avx512ifma", false: "table"}[ecbatch.Supported()]
	if got := detect("").ecdsa.String(); got != want {
		t.Errorf("ECDSA is verified by %q, want %q", got, want)
	}
	for use, want := range map[features]string{
		{}:                       "rsa=generic ecdsa=generic",
		{ecdsa: table}:           "rsa=generic ecdsa=table",
		{rsa: ifma, ecdsa: ifma}: "rsa=avx512ifma ecdsa=avx512ifma",
	} {
		if got := use.String(); got != want {
			t.Errorf("%v is named %q, want %q", use, got, want)
		}
	}
}

// Neither the caller's key nor another goroutine's call shows in a verdict.
func TestKeysAreIndependentOfTheirOriginAndOfEachOther(t *testing.T) {
	everyWay(t, func(t *testing.T, use features) {
		for _, s := range signers(t) {
			const count = 9
			digests := make([][32]byte, count)
			signatures := make([][]byte, count)
			good := s.sign(digest(7))
			for i := range digests {
				digests[i], signatures[i] = digest(7+i%2), good
			}
			k := mustKey(t, s.pub, use)
			if pub, ok := s.pub.(*rsa.PublicKey); ok {
				pub.N.SetInt64(15)
			}
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					valid := make([]bool, count)
					k.Verify(valid, digests, signatures)
					for i, v := range valid {
						if v != (i%2 == 0) {
							t.Errorf("%s: verdict %d is %v", s.name, i, v)
						}
					}
				})
			}
			wg.Wait()
		}
	})
}
