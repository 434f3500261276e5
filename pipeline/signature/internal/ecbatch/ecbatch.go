package ecbatch

// A Key is what package signature sees. It leaves the first signatures under a key to crypto/ecdsa, until a table is
// worth its cost.

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

// worthTable is how many signatures a key must have been asked about before its table is built. Building takes as long
// as five (P-384) to twenty (P-256) verifications by crypto/ecdsa; more are asked for because the table takes memory
// too.
const worthTable = 32

// Key verifies signatures under one public key. All methods are safe for concurrent use.
//
// Once it was asked about 32 signatures it keeps a table of the key: 256 KiB for P-256, 576 KiB for P-384. Each curve
// has a table of the same size for its generator, and each call that runs at the same time up to a megabyte of working
// memory, both shared by all keys.
type Key struct {
	public *ecdsa.PublicKey // own copy, on the curve
	seen   atomic.Int64     // signatures asked about so far
	build  func() verifier  // makes the table on the first call, returns the same verifier ever after
}

// The engines are constants in effect: a generator's table takes a millisecond to compute, so it is computed when first
// needed, and their working memory is a cache that no result depends on.
var (
	portable256 = sync.OnceValue(func() engine {
		return newPortable[field.P256, field.P256Order, *field.P256, *field.P256Order](elliptic.P256())
	})
	portable384 = sync.OnceValue(func() engine {
		return newPortable[field.P384, field.P384Order, *field.P384, *field.P384Order](elliptic.P384())
	})
	ifma256 = sync.OnceValue(newIFMA256)
	ifma384 = sync.OnceValue(newIFMA384)
)

// choose returns the engine for a key on P-256 or P-384: the kernels' or the portable one.
func choose(curve elliptic.Curve, ifma bool) func() engine {
	switch {
	case ifma && curve == elliptic.P256():
		return ifma256
	case ifma:
		return ifma384
	case curve == elliptic.P256():
		return portable256
	}
	return portable384
}

// New prepares a public key, which it copies. ifma says whether to verify with the AVX-512 IFMA kernels, in place of
// code that runs on every processor; it may be true only where Supported is. New fails if the curve is neither P-256
// nor P-384, the point isn't on the curve, or this processor can't run the kernels that were asked for.
func New(pub *ecdsa.PublicKey, ifma bool) (*Key, error) {
	if ifma && !Supported() {
		return nil, errors.New("this processor has no AVX-512 IFMA")
	}
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
	engine := choose(pub.Curve, ifma)
	k.build = sync.OnceValue(func() verifier { return engine().prepare(k.public) })
	return k, nil
}

// Verify sets valid[i] to whether signatures[i], ASN.1 DER, is a valid signature of the digest digests[i]. The three
// slices have the same length, which may be any; a million signatures in one call are as good as a thousand. It runs on
// the calling goroutine, keeps none of the slices and changes only valid. The call that first finds the table worth its
// cost builds it, which takes one to three milliseconds; others at the same time wait for it.
func (k *Key) Verify(valid []bool, digests [][32]byte, signatures [][]byte) {
	n := len(signatures)
	if k.seen.Load() < worthTable && k.seen.Add(int64(n)) < worthTable {
		k.verifyEach(valid, digests, signatures)
		return
	}
	verifier := k.build()
	var results [block]result
	for first := 0; first < n; first += block {
		last := min(first+block, n)
		verifier.verify(results[:last-first], digests[first:last], signatures[first:last])
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
