package certs

// A Key is a leaf certificate made ready for verifying.

import (
	"crypto/x509"
	"fmt"

	"countersign/pipeline/signature"
)

// Key is the public key of a chain's leaf. It is immutable and safe for
// concurrent use.
type Key struct {
	// Fingerprint is the leaf's, as [Chain.Fingerprint] gives it.
	Fingerprint [32]byte
	Chain       Chain
	Verifier    *signature.Key
}

// KeysOf makes the keys of chains, in their order, without asking whether the
// certificates are valid now: it serves chains that were decided by before.
// Every call prepares the keys anew; [Cache.KeysOf] shares them.
func KeysOf(chains []Chain) ([]Key, error) {
	keys := make([]Key, 0, len(chains))
	for _, chain := range chains {
		key, err := keyOf(chain)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func keyOf(chain Chain) (Key, error) {
	leaf, err := chain.Leaf()
	if err != nil {
		return Key{}, err
	}
	return newKey(chain, leaf)
}

func newKey(chain Chain, leaf *x509.Certificate) (Key, error) {
	verifier, err := signature.NewKey(leaf.PublicKey)
	if err != nil {
		return Key{}, fmt.Errorf("preparing the key of certificate %x: %w", chain.Fingerprint(), err)
	}
	return Key{Fingerprint: chain.Fingerprint(), Chain: chain, Verifier: verifier}, nil
}
