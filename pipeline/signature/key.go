package signature

// A Key is what callers see: it hides which implementation verifies. NewKey
// chooses the implementation, once, because what makes an implementation fast
// is computed from the key in advance.

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
)

// ErrUnsupportedKey is wrapped by NewKey's errors: the certificate's key is of
// a kind, size or shape that the service doesn't verify with. The wrapping text
// says which and what the site can do about it.
var ErrUnsupportedKey = errors.New("unsupported public key")

// Algorithm is a kind of signature that this package verifies. The zero value
// is invalid. RSA is one algorithm, whatever the size of the key.
type Algorithm uint8

// The numbers may change between versions, the names that String gives may not.
const (
	// RSA is RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, section 8.2).
	RSA Algorithm = iota + 1
	// ECDSAP256 is ECDSA on P-256 over a SHA-256 digest, in DER (RFC 3279, section 2.2.3).
	ECDSAP256
	// ECDSAP384 is the same on P-384.
	ECDSAP384
	// ECDSAP521 is the same on P-521.
	ECDSAP521
)

// String gives the algorithm's name as it is stored in the database and shown
// to analysts: the names are stable. It gives "invalid" for other values.
func (a Algorithm) String() string {
	switch a {
	case RSA:
		return "RSA-PKCS1-SHA256"
	case ECDSAP256:
		return "ECDSA-P256-SHA256"
	case ECDSAP384:
		return "ECDSA-P384-SHA256"
	case ECDSAP521:
		return "ECDSA-P521-SHA256"
	}
	return "invalid"
}

// A Key verifies signatures under one public key. It is safe for concurrent use.
// It never changes, except that tables are built under a lock of their own when
// they are first used.
type Key struct {
	algorithm Algorithm
	minLen    int // bytes of the shortest signature that can be one of this key's
	maxLen    int // bytes of the longest
	price     price
	verify    verifyFunc
}

// verifyFunc is one implementation of [Key.Verify] and shares its contract,
// except that the lengths were already compared.
type verifyFunc func(valid []bool, digests [][32]byte, signatures [][]byte)

// NewKey prepares pub, a *rsa.PublicKey with an odd modulus of 2048 to 8192
// bits and an odd exponent from 3 to 2^31-1, or an *ecdsa.PublicKey on P-256,
// P-384 or P-521. Other keys get an error that wraps ErrUnsupportedKey. The key
// is copied: pub may be changed afterwards.
func NewKey(pub crypto.PublicKey) (*Key, error) {
	return newKey(pub, detected())
}

// newKey is NewKey with the features to use, so that tests run all of them.
func newKey(pub crypto.PublicKey, use features) (*Key, error) {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		return newRSAKey(pub, use)
	case *ecdsa.PublicKey:
		return newECDSAKey(pub, use)
	}
	return nil, fmt.Errorf("%w: %T; use a certificate with an RSA key of 2048 to 8192 bits "+
		"or an ECDSA key on P-256, P-384 or P-521", ErrUnsupportedKey, pub)
}

// Algorithm says what kind of signature k verifies.
func (k *Key) Algorithm() Algorithm { return k.algorithm }

// Fits reports whether sig has a length that a signature under k can have: for
// RSA exactly the modulus's, for ECDSA any from the shortest to the longest DER
// encoding. A signature that doesn't fit is never valid. The lengths of RSA and
// ECDSA signatures never overlap, so a caller can choose between a site's two
// keys without verifying.
func (k *Key) Fits(sig []byte) bool { return k.FitsLength(len(sig)) }

// FitsLength is Fits for a signature of n bytes.
func (k *Key) FitsLength(n int) bool {
	return k.minLen <= n && n <= k.maxLen
}

// Verify sets valid[i] to whether signatures[i] is a signature under k of the
// message whose SHA-256 is digests[i]. The three have the same length, which
// may be 0; different lengths are a programming error and panic. The bytes may
// be anything: they only decide between true and false.
//
// It works on the calling goroutine, keeps none of its arguments, and may run
// concurrently with itself. One signature of many takes less time than one
// alone: for RSA up to eight in a call, for ECDSA up to some hundreds.
func (k *Key) Verify(valid []bool, digests [][32]byte, signatures [][]byte) {
	if len(digests) != len(valid) || len(signatures) != len(valid) {
		panic(fmt.Sprintf("signature: Verify was called with %d verdicts, %d digests and %d signatures",
			len(valid), len(digests), len(signatures)))
	}
	k.verify(valid, digests, signatures)
}
