package client

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"countersign/internal/pemfile"
)

// Making pairs, on the side of whoever has the key.

// HashFile returns the SHA-256 of a file's content, read in pieces.
func HashFile(path string) (hash [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return hash, fmt.Errorf("hash a file: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return hash, fmt.Errorf("hash %s: %w", path, err)
	}
	h.Sum(hash[:0])
	return hash, nil
}

// SignHash signs a file's hash as the contract wants it: what is signed is the hash's text, 64
// lower-case hex digits without a line feed, with SHA-256; by RSA in PKCS #1 v1.5, by ECDSA in
// ASN.1 DER. random may be nil, for the system's. key may be in a hardware module; it must be that
// of the certificate that the site serves.
func SignHash(random io.Reader, key crypto.Signer, hash [32]byte) ([]byte, error) {
	switch key.Public().(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
	default:
		return nil, fmt.Errorf("sign a hash: a key of type %T: the service takes RSA and ECDSA keys", key.Public())
	}
	if random == nil {
		random = rand.Reader
	}
	var text [64]byte
	hex.Encode(text[:], hash[:])
	digest := sha256.Sum256(text[:])
	signature, err := key.Sign(random, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign a hash: %w", err)
	}
	return signature, nil
}

// LoadKey reads the RSA or ECDSA private key in a file: PEM, in whatever state it is, or DER; PKCS #8, PKCS #1 or SEC 1;
// not encrypted. Certificates in the file are passed over; a second key is an error.
func LoadKey(path string) (crypto.Signer, error) {
	key, err := pemfile.PrivateKey(path)
	if err != nil {
		return nil, fmt.Errorf("read the private key: %w", err)
	}
	return key, nil
}
