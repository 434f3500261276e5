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
	sites := newSites(t, Config{source: (&fake{chains: chains}).source})
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
	for _, keys := range [][]Key{alone, await(t, sites).Keys()} {
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

	shared, err := sites.KeysOf(chains)
	if err != nil {
		t.Fatal(err)
	}
	if shared[0].Verifier != await(t, sites).Leaves[0].Key.Verifier {
		t.Error("Sites made a key twice")
	}
	if _, err := sites.KeysOf([]Chain{{}}); err == nil {
		t.Error("an empty chain has a key")
	}
	if keys, err := sites.KeysOf(nil); err != nil || len(keys) != 0 {
		t.Errorf("no chains: %d keys, %v", len(keys), err)
	}
	short := newSite(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P224()}).Chains()
	if _, err := sites.KeysOf([]Chain{{Certificates: short[0]}}); !errors.Is(err, signature.ErrUnsupportedKey) {
		t.Errorf("P-224: error %v, want ErrUnsupportedKey", err)
	}
}

// Tables of ECDSA keys are half a megabyte each, so keys are bounded in bytes.
func TestKeysStayWithinTheirBytes(t *testing.T) {
	keys, err := newKeyCache(8 * 256 << 10)
	if err != nil {
		t.Fatal(err)
	}
	chains := make([]Chain, 20)
	ca := newCA(t)
	for i := range chains {
		site := newSite(t, ca, siteName, testsite.SiteConfig{Curve: []elliptic.Curve{elliptic.P256(), elliptic.P384()}[i%2]})
		chains[i] = Chain{Certificates: site.Chains()[0]}
		if _, err := keys.of(chains[i]); err != nil {
			t.Fatal(err)
		}
	}
	keys.keys.CleanUp()
	if n := keys.bytes(); n > 8*256<<10 || n == 0 {
		t.Errorf("the keys take %d bytes, want some and at most %d", n, 8*256<<10)
	}
	if _, err := keys.of(chains[0]); err != nil {
		t.Errorf("a key that was forgotten: %v", err)
	}
}
