package certs

import (
	"crypto"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"testing"

	"countersign/pipeline/signature"
	"countersign/testsite"
)

func TestKeysVerifyWhatTheSiteSigns(t *testing.T) {
	ca := newCA(t)
	site := newSite(t, ca, siteName, testsite.SiteConfig{Keys: []crypto.Signer{keyAt(t, elliptic.P256()), rsaKey()}})
	var chains []Chain
	for _, chain := range site.Chains() {
		chains = append(chains, Chain{Certificates: chain})
	}
	cache := newCache(t, &fake{chains: chains}, CacheConfig{})
	var alone []Key // made without the cache
	for _, chain := range chains {
		key, err := keyOf(chain)
		if err != nil {
			t.Fatal(err)
		}
		alone = append(alone, key)
	}
	hash := sha256.Sum256([]byte("a file"))
	digests := [][32]byte{sha256.Sum256([]byte(testsite.HexText(hash, false)))}
	for _, keys := range [][]Key{alone, get(t, cache).Keys} {
		for i, sig := range [][]byte{site.SignRSA(hash, false), site.SignECDSA(hash, false)} {
			valid := make([]bool, 1)
			if keys[i].Verifier.Verify(valid, digests, [][]byte{sig}); !valid[0] || !keys[i].Verifier.Fits(sig) {
				t.Errorf("key %d (%s) refuses the site's signature", i, keys[i].Verifier.Algorithm())
			}
			if keys[1-i].Verifier.Fits(sig) {
				t.Errorf("key %d takes a signature of the other kind for its own", 1-i)
			}
			if keys[i].Verifier.Verify(valid, digests, [][]byte{make([]byte, len(sig))}); valid[0] {
				t.Errorf("key %d accepts zeros", i)
			}
		}
	}

	shared, err := cache.KeysOf(chains)
	if err != nil {
		t.Fatal(err)
	}
	if shared[0].Verifier != get(t, cache).Keys[0].Verifier {
		t.Error("the cache made a key twice")
	}
	if _, err := cache.KeysOf([]Chain{{}}); err == nil {
		t.Error("an empty chain has a key")
	}
	if keys, err := cache.KeysOf(nil); err != nil || len(keys) != 0 {
		t.Errorf("no chains: %d keys, %v", len(keys), err)
	}
	short := newSite(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P224()}).Chains()
	if _, err := cache.KeysOf([]Chain{{Certificates: short[0]}}); !errors.Is(err, signature.ErrUnsupportedKey) {
		t.Errorf("P-224: error %v, want ErrUnsupportedKey", err)
	}
}
