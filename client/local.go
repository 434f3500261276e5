package client

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
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

// LoadKey reads an RSA or ECDSA private key from a PEM file: PKCS #8, PKCS #1 or SEC 1, not
// encrypted. Other blocks in the file, such as the certificate, are skipped.
func LoadKey(pemPath string) (crypto.Signer, error) {
	rest, err := os.ReadFile(pemPath)
	if err != nil {
		return nil, fmt.Errorf("read the private key: %w", err)
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("%s holds no private key: give a PEM file with a block of type PRIVATE KEY", pemPath)
		}
		key, err := parseKey(block)
		if err != nil {
			return nil, fmt.Errorf("private key in %s: %w", pemPath, err)
		}
		if key != nil {
			return key, nil
		}
	}
}

// parseKey returns the key of a block, nil if it holds something else.
func parseKey(block *pem.Block) (crypto.Signer, error) {
	if block.Headers["DEK-Info"] != "" || block.Type == "ENCRYPTED PRIVATE KEY" {
		return nil, errors.New("it is encrypted: decrypt it with openssl pkey -in FILE -out FILE")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case *ecdsa.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("a key of type %T: the service takes RSA and ECDSA keys", key)
}
