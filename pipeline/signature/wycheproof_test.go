package signature

// C2SP's Wycheproof vectors, all that concern what this package accepts.

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"strings"
	"testing"

	"github.com/c2sp/wycheproof"
)

// vectors is what the tests need of Wycheproof's schemas.
type vectors struct {
	TestGroups []struct {
		PublicKeyDer    string // verification groups
		PrivateKeyPkcs8 string // generation groups
		Sha             string
		KeySize         int
		Tests           []struct {
			TcID             int
			Comment          string
			Msg, Sig, Result string
		}
	}
}

func TestWycheproof(t *testing.T) {
	for _, file := range []string{
		"rsa_signature_2048_sha256_test.json",
		"rsa_signature_3072_sha256_test.json",
		"rsa_signature_4096_sha256_test.json",
		"rsa_signature_8192_sha256_test.json",
		"rsa_pkcs1_2048_sig_gen_test.json",
		"rsa_pkcs1_3072_sig_gen_test.json",
		"rsa_pkcs1_4096_sig_gen_test.json",
		"ecdsa_secp256r1_sha256_test.json",
		"ecdsa_secp384r1_sha256_test.json",
	} {
		text, err := fs.ReadFile(wycheproof.TestVectors, file)
		if err != nil {
			t.Fatal(err)
		}
		var v vectors
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		t.Run(file, func(t *testing.T) {
			if testing.Short() && !strings.Contains(file, "2048") {
				t.Skip("-short: it computes for long, in one goroutine")
			}
			everyWay(t, func(t *testing.T, use features) { checkVectors(t, v, use) })
		})
	}
}

// checkVectors verifies each group as one batch, and compares with the vectors
// and, which decides on the "acceptable", with the standard library.
func checkVectors(t *testing.T, v vectors, use features) {
	checked := 0
	for _, group := range v.TestGroups {
		if group.Sha != "SHA-256" {
			continue
		}
		pub := groupKey(t, group.PublicKeyDer, group.PrivateKeyPkcs8)
		var digests [][32]byte
		var signatures [][]byte
		for _, test := range group.Tests {
			digests = append(digests, sha256.Sum256(mustHex(t, test.Msg)))
			signatures = append(signatures, mustHex(t, test.Sig))
		}
		for i, got := range mustAgree(t, mustKey(t, pub, use), pub, digests, signatures) {
			test := group.Tests[i]
			if got != (test.Result == "valid") && test.Result != "acceptable" {
				t.Errorf("vector %d (%s) is %s, verdict %v", test.TcID, test.Comment, test.Result, got)
			}
			checked++
		}
	}
	if checked == 0 {
		t.Error("the file has no SHA-256 vectors")
	}
}

func groupKey(t *testing.T, public, private string) crypto.PublicKey {
	t.Helper()
	if public != "" {
		pub, err := x509.ParsePKIXPublicKey(mustHex(t, public))
		if err != nil {
			t.Fatal(err)
		}
		return pub
	}
	key, err := x509.ParsePKCS8PrivateKey(mustHex(t, private))
	if err != nil {
		t.Fatal(err)
	}
	return &key.(*rsa.PrivateKey).PublicKey
}

func mustHex(t *testing.T, text string) []byte {
	t.Helper()
	decoded, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}
