package client

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHashFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	content := []byte(strings.Repeat("content\n", 100_000))
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := HashFile(path); err != nil || got != sha256.Sum256(content) {
		t.Errorf("got %x, %v", got, err)
	}
	for _, bad := range []string{path + "x", filepath.Dir(path)} {
		if _, err := HashFile(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

type testKeys struct {
	rsa     *rsa.PrivateKey
	ecdsa   *ecdsa.PrivateKey
	ed25519 ed25519.PrivateKey
}

func makeKeys(t *testing.T) (k testKeys) {
	var err error
	if k.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if k.ecdsa, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if _, k.ed25519, err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	return k
}

// What is signed is the hash's text, as the contract's pages say.
func TestSignHash(t *testing.T) {
	keys := makeKeys(t)
	hash := sha256.Sum256(nil)
	digest := sha256.Sum256([]byte("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"))
	signature, err := SignHash(nil, keys.rsa, hash)
	if err != nil || rsa.VerifyPKCS1v15(&keys.rsa.PublicKey, crypto.SHA256, digest[:], signature) != nil {
		t.Errorf("RSA: %x, %v", signature, err)
	}
	signature, err = SignHash(rand.Reader, keys.ecdsa, hash)
	if err != nil || !ecdsa.VerifyASN1(&keys.ecdsa.PublicKey, digest[:], signature) {
		t.Errorf("ECDSA: %x, %v", signature, err)
	}
	if _, err := SignHash(nil, keys.ed25519, hash); err == nil || !strings.Contains(err.Error(), "RSA and ECDSA") {
		t.Errorf("Ed25519: %v", err)
	}
}

func TestLoadKey(t *testing.T) {
	keys := makeKeys(t)
	block := func(kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	pkcs8 := func(key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return block("PRIVATE KEY", der, err)
	}
	sec1, err := x509.MarshalECPrivateKey(keys.ecdsa)
	certificate := block("CERTIFICATE", []byte("any"), nil)
	for _, c := range []struct {
		name, file string
		want       crypto.PublicKey
		reason     string
	}{
		{"PKCS #8, RSA", pkcs8(keys.rsa), keys.rsa.Public(), ""},
		{"PKCS #8, ECDSA", pkcs8(keys.ecdsa), keys.ecdsa.Public(), ""},
		{"PKCS #1", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(keys.rsa), nil), keys.rsa.Public(), ""},
		{"SEC 1, with parameters before it", block("EC PARAMETERS", []byte{6, 0}, nil) + block("EC PRIVATE KEY", sec1, err), keys.ecdsa.Public(), ""},
		{"behind a certificate", "text\n" + certificate + pkcs8(keys.rsa), keys.rsa.Public(), ""},
		{"Ed25519", pkcs8(keys.ed25519), nil, "RSA or ECDSA"},
		{"encrypted", block("ENCRYPTED PRIVATE KEY", []byte{1}, nil), nil, "decrypt it with openssl"},
		{"encrypted, old style", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n", nil, "decrypt it with openssl"},
		{"damaged", block("PRIVATE KEY", []byte{1, 2}, nil), nil, "can't be used"},
		{"a certificate only", certificate, nil, "no private key"},
		{"empty", "", nil, "no private key"},
	} {
		path := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		key, err := LoadKey(path)
		if c.want == nil {
			if err == nil || !strings.Contains(err.Error(), c.reason) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil || !c.want.(interface{ Equal(crypto.PublicKey) bool }).Equal(key.Public()) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := LoadKey("nowhere.pem"); err == nil {
		t.Error("no error for a missing file")
	}
}
