// Package ecbatch verifies many ECDSA signatures (FIPS 186-5, SHA-256 digests) under one public key on P-256 or P-384.
//
// It owns the arithmetic that makes many signatures under one key cheaper than one by one: tables of multiples of the
// generator and of the key, so that a signature is a sum of table entries, and inversions shared by a block of
// signatures. It promises exactly the answers of crypto/ecdsa.VerifyASN1, for every byte string; wherever its formulas
// have an exception it asks crypto/ecdsa. It must not know what is signed, where keys come from, or how work is
// divided among cores.
//
// Signatures, digests and public keys are public: nothing here runs in constant time.
//
// The environment variable COUNTERSIGN_CPU=generic, read by New, keeps it to code that runs on every CPU.
package ecbatch

//go:generate go run ./internal/gen/emit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"sync/atomic"

	"countersign/pipeline/signature/internal/ecbatch/internal/field"
)

const (
	// worthTable is how many signatures a key must have been asked about before its table is built. Building takes
	// as long as some ten verifications by crypto/ecdsa; more are asked for because the table also takes memory.
	worthTable = 32
	// worthBlock is the fewest signatures in a call for which the shared inversions beat crypto/ecdsa.
	worthBlock = 1
)

// Key verifies signatures under one public key. All methods are safe for concurrent use.
//
// It keeps a table of the key once it was asked about 32 signatures: 256 KiB for P-256, 576 KiB for P-384. The tables of the two generators, of the
// same sizes, are shared by all keys.
type Key struct {
	public *ecdsa.PublicKey // own copy, on the curve
	ifma   bool             // use the vector engine
	seen   atomic.Int64     // signatures asked about so far
	build  func() engine    // makes the table on the first call, returns the same engine ever after
	built  atomic.Bool
}

// The generators' tables are constants that take a millisecond to compute, so they are computed when first needed.
var (
	generatorP256 = sync.OnceValue(func() comb[field.P256] {
		return newComb[field.P256, *field.P256](basePoint[field.P256, *field.P256](elliptic.P256()))
	})
	generatorP384 = sync.OnceValue(func() comb[field.P384] {
		return newComb[field.P384, *field.P384](basePoint[field.P384, *field.P384](elliptic.P384()))
	})
)

// The same tables for vectors, whose elements have so many limbs of 52 bits.
var (
	generatorIFMA256 = sync.OnceValue(func() comb[field.P256] {
		return toVectorForm[field.P256, *field.P256](generatorP256(), limbs256)
	})
	generatorIFMA384 = sync.OnceValue(func() comb[field.P384] {
		return toVectorForm[field.P384, *field.P384](generatorP384(), limbs384)
	})
)

const (
	limbs256 = 5
	limbs384 = 8
)

// New prepares a public key, which it copies. It fails if the curve is neither P-256 nor P-384, or the point isn't on it.
func New(pub *ecdsa.PublicKey) (*Key, error) {
	if pub == nil || pub.Curve == nil || pub.X == nil || pub.Y == nil {
		return nil, errors.New("no ECDSA public key given")
	}
	if pub.Curve != elliptic.P256() && pub.Curve != elliptic.P384() {
		return nil, fmt.Errorf("ECDSA curve %s isn't P-256 or P-384: use crypto/ecdsa for it", pub.Curve.Params().Name)
	}
	if _, err := pub.ECDH(); err != nil {
		return nil, fmt.Errorf("checking the ECDSA public key: %w", err)
	}
	k := &Key{public: &ecdsa.PublicKey{Curve: pub.Curve, X: new(big.Int).Set(pub.X), Y: new(big.Int).Set(pub.Y)}}
	k.ifma = haveIFMA()
	k.build = sync.OnceValue(k.newEngine)
	return k, nil
}

func (k *Key) newEngine() engine {
	defer k.built.Store(true)
	if k.public.Curve == elliptic.P256() {
		table := newComb[field.P256, *field.P256](affine[field.P256, *field.P256](k.public.X, k.public.Y))
		if k.ifma {
			return newIFMA256(generatorIFMA256(), toVectorForm[field.P256, *field.P256](table, limbs256))
		}
		return newPortable[field.P256, field.P256Order, *field.P256, *field.P256Order](generatorP256(), table)
	}
	table := newComb[field.P384, *field.P384](affine[field.P384, *field.P384](k.public.X, k.public.Y))
	if k.ifma {
		return newIFMA384(generatorIFMA384(), toVectorForm[field.P384, *field.P384](table, limbs384))
	}
	return newPortable[field.P384, field.P384Order, *field.P384, *field.P384Order](generatorP384(), table)
}

// Kind names the code that verifies many signatures: "avx512ifma", or "table" for the portable code.
func (k *Key) Kind() string {
	if k.ifma {
		return "avx512ifma"
	}
	return "table"
}

// Size is how many bytes of tables the key holds for itself now.
func (k *Key) Size() int {
	if !k.built.Load() {
		return 0
	}
	return k.build().bytes()
}

// Verify sets valid[i] to whether signatures[i], ASN.1 DER, is a valid signature of the digest digests[i]. The three
// slices have the same length, which may be any. It runs on the calling goroutine, keeps none of the slices and changes
// only valid. The call that first finds the table worth its cost builds it, which takes about a millisecond.
func (k *Key) Verify(valid []bool, digests [][32]byte, signatures [][]byte) {
	n := len(signatures)
	if k.seen.Load() < worthTable && k.seen.Add(int64(n)) < worthTable || n < worthBlock {
		k.verifyEach(valid, digests, signatures)
		return
	}
	engine := k.build()
	var results [block]result
	for first := 0; first < n; first += block {
		last := min(first+block, n)
		engine.verify(results[:last-first], digests[first:last], signatures[first:last])
		for i := first; i < last; i++ {
			if results[i-first] == undecided {
				valid[i] = ecdsa.VerifyASN1(k.public, digests[i][:], signatures[i])
				continue
			}
			valid[i] = results[i-first] == accepted
		}
	}
}

// verifyEach is crypto/ecdsa, one by one.
func (k *Key) verifyEach(valid []bool, digests [][32]byte, signatures [][]byte) {
	for i := range signatures {
		valid[i] = ecdsa.VerifyASN1(k.public, digests[i][:], signatures[i])
	}
}
