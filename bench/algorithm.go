package bench

// The kinds of keys that sites sign with, and how each is called elsewhere.

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"

	"countersign/testsite/fastrsa"
)

// algorithm is one kind of key.
type algorithm struct {
	name  string         // in flags, files and site names
	title string         // in reports
	speed string         // what `openssl speed` calls it
	bits  int            // of an RSA modulus; 0: ECDSA
	curve elliptic.Curve // nil: RSA
	most  int            // bytes of the longest signature
}

// algorithms are all that can be measured.
func algorithms() []algorithm {
	return []algorithm{
		{name: "rsa2048", title: "RSA-2048", speed: "rsa2048", bits: 2048, most: 256},
		{name: "rsa3072", title: "RSA-3072", speed: "rsa3072", bits: 3072, most: 384},
		{name: "rsa4096", title: "RSA-4096", speed: "rsa4096", bits: 4096, most: 512},
		{name: "p256", title: "P-256", speed: "ecdsap256", curve: elliptic.P256(), most: 72},
		{name: "p384", title: "P-384", speed: "ecdsap384", curve: elliptic.P384(), most: 104},
	}
}

// findAlgorithm looks a name up.
func findAlgorithm(name string) (algorithm, error) {
	var names []string
	for _, a := range algorithms() {
		if a.name == name {
			return a, nil
		}
		names = append(names, a.name)
	}
	return algorithm{}, fmt.Errorf("there is no algorithm %q: there are %s", name, strings.Join(names, ", "))
}

// newKey makes a key that signs quickly. It protects nothing: see fastrsa.
func (a algorithm) newKey() (crypto.Signer, error) {
	if a.curve == nil {
		return fastrsa.Generate(rand.Reader, a.bits)
	}
	return ecdsa.GenerateKey(a.curve, rand.Reader)
}

// marshalKey encodes what newKey made, for the cache.
func marshalKey(key crypto.Signer) ([]byte, error) {
	switch key := key.(type) {
	case *fastrsa.Key:
		return key.Marshal(), nil
	case *ecdsa.PrivateKey:
		return x509.MarshalECPrivateKey(key)
	}
	return nil, fmt.Errorf("a key of type %T has no place in the cache", key)
}

// parseKey reads what marshalKey wrote.
func (a algorithm) parseKey(der []byte) (crypto.Signer, error) {
	if a.curve == nil {
		return fastrsa.Parse(der)
	}
	return x509.ParseECPrivateKey(der)
}

// width is the size of a pair in a pool's file, in bytes.
func (a algorithm) width() int { return pairFrame + base64.StdEncoding.EncodedLen(a.most) }
