package certs

// A Key is a leaf certificate made ready for verifying. Prepared keys are kept, because an ECDSA key builds a table
// that makes it fast and takes up to half a megabyte. Their number is bounded by the bytes that their tables may take.

import (
	"fmt"

	"github.com/maypok86/otter/v2"

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

// size is what a key takes, in bytes, with the table that it builds once it is worth it (package ecbatch says how large
// those are).
func (k Key) size() uint32 {
	switch k.Verifier.Algorithm() {
	case signature.ECDSAP256:
		return 256 << 10
	case signature.ECDSAP384:
		return 577 << 10
	default:
		return 16 << 10
	}
}

// keyCache keeps keys by fingerprint. It is safe for concurrent use.
type keyCache struct {
	keys *otter.Cache[[32]byte, Key]
}

func newKeyCache(bytes uint64) (keyCache, error) {
	keys, err := otter.New(&otter.Options[[32]byte, Key]{
		MaximumWeight: bytes,
		Weigher:       func(_ [32]byte, key Key) uint32 { return key.size() },
	})
	if err != nil {
		return keyCache{}, fmt.Errorf("making the key cache: %w", err)
	}
	return keyCache{keys: keys}, nil
}

// of returns the key of a chain, shared with all who ask for it.
func (c keyCache) of(chain Chain) (Key, error) {
	fingerprint := chain.Fingerprint()
	if key, ok := c.keys.GetIfPresent(fingerprint); ok {
		return key, nil
	}
	key, err := keyOf(chain)
	if err != nil {
		return Key{}, err
	}
	// If another caller has stored a key meanwhile, that one is kept: it may have built its table by now.
	if kept, added := c.keys.SetIfAbsent(fingerprint, key); !added {
		key = kept
	}
	return key, nil
}

// bytes is what the keys may take.
func (c keyCache) bytes() uint64 { return c.keys.WeightedSize() }
