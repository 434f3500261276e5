package certs

// A Key is a leaf certificate made ready for verifying.

import (
	"fmt"

	"countersign/pipeline/signature"
)

// Key is the public key of a chain's leaf. It is immutable and safe for concurrent use.
type Key struct {
	// Fingerprint is the leaf's, as [Chain.Fingerprint] gives it.
	Fingerprint [32]byte
	Verifier    *signature.Key
}

// keyOf makes the key of a chain. It doesn't ask whether the certificates are valid now.
func keyOf(chain Chain) (Key, error) {
	leaf, err := chain.Leaf()
	if err != nil {
		return Key{}, err
	}
	verifier, err := signature.NewKey(leaf.PublicKey)
	if err != nil {
		return Key{}, fmt.Errorf("preparing the key of certificate %x: %w", chain.Fingerprint(), err)
	}
	return Key{Fingerprint: chain.Fingerprint(), Verifier: verifier}, nil
}
