package ecbatch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"testing"

	"github.com/c2sp/wycheproof"
)

// wycheproofFile is what the test needs of Wycheproof's ecdsa_verify_schema.
type wycheproofFile struct {
	NumberOfTests int
	TestGroups    []struct {
		PublicKey struct{ Uncompressed string }
		Tests     []struct {
			TcID             int
			Comment          string
			Msg, Sig, Result string
		}
	}
}

// All of C2SP's Wycheproof vectors whose digest is, or is truncated to (FIPS 186-5, section 6.4.2), 32 bytes.
func TestWycheproof(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it computes for long, in one goroutine")
	}
	first := func(digest []byte) [32]byte { return [32]byte(digest) }
	files := []struct {
		name  string
		curve elliptic.Curve
		hash  func([]byte) [32]byte
	}{
		{"ecdsa_secp256r1_sha256_test.json", elliptic.P256(), sha256.Sum256},
		{"ecdsa_secp256r1_sha3_256_test.json", elliptic.P256(), sha3.Sum256},
		{"ecdsa_secp256r1_sha512_test.json", elliptic.P256(), func(m []byte) [32]byte { h := sha512.Sum512(m); return first(h[:]) }},
		{"ecdsa_secp256r1_sha3_512_test.json", elliptic.P256(), func(m []byte) [32]byte { h := sha3.Sum512(m); return first(h[:]) }},
		{"ecdsa_secp384r1_sha256_test.json", elliptic.P384(), sha256.Sum256},
	}
	for _, file := range files {
		text, err := fs.ReadFile(wycheproof.TestVectors, file.name)
		if err != nil {
			t.Fatal(err)
		}
		var v wycheproofFile
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		everyWay(t, func(t *testing.T, curve elliptic.Curve, ifma bool) {
			if curve == file.curve {
				checkVectors(t, &v, curve, ifma, file.hash)
			}
		})
	}
}

func checkVectors(t *testing.T, v *wycheproofFile, curve elliptic.Curve, ifma bool, hash func([]byte) [32]byte) {
	seen := 0
	for _, group := range v.TestGroups {
		encoded := unhex(t, group.PublicKey.Uncompressed)
		public, err := ecdsa.ParseUncompressedPublicKey(curve, encoded)
		if err != nil {
			t.Fatal(err)
		}
		key := withTable(t, public, ifma)
		digests, signatures := make([][32]byte, len(group.Tests)), make([][]byte, len(group.Tests))
		for i, test := range group.Tests {
			digests[i], signatures[i] = hash(unhex(t, test.Msg)), unhex(t, test.Sig)
		}
		// Once alone, through the engine however small the group is, and once as the caller would.
		results := make([]result, len(group.Tests))
		for i := range results {
			key.build().verify(results[i:i+1], digests[i:i+1], signatures[i:i+1])
		}
		valid := make([]bool, len(group.Tests))
		key.Verify(valid, digests, signatures)
		for i, test := range group.Tests {
			want := test.Result != "invalid"
			if valid[i] != want || results[i] != undecided && (results[i] == accepted) != want {
				t.Errorf("test %d (%s): %v, alone %v, want %s", test.TcID, test.Comment, valid[i], results[i], test.Result)
			}
			seen++
		}
	}
	if seen != v.NumberOfTests || seen < 100 {
		t.Errorf("saw %d of %d tests", seen, v.NumberOfTests)
	}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
