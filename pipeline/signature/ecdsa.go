package signature

// ECDSA: which keys are accepted, and the implementation over crypto/ecdsa.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"fmt"

	"countersign/pipeline/signature/internal/ecbatch"
)

// Bytes of the shortest DER signature, SEQUENCE { INTEGER 1, INTEGER 1 }, and of
// the longest on each curve. On P-256 and P-384 an integer may need a leading
// zero; on P-521 the integers take 66 bytes and the sequence a two-byte length.
const (
	minDER     = 2 + 2*(2+1)
	maxDERP256 = 2 + 2*(2+33)
	maxDERP384 = 2 + 2*(2+49)
	maxDERP521 = 3 + 2*(2+66)
)

func newECDSAKey(pub *ecdsa.PublicKey, use features) (*Key, error) {
	if pub == nil || pub.Curve == nil || pub.X == nil || pub.Y == nil {
		return nil, fmt.Errorf("%w: ECDSA key without a curve or point; renew the certificate", ErrUnsupportedKey)
	}
	k := &Key{minLen: minDER}
	switch pub.Curve {
	case elliptic.P256():
		k.algorithm, k.maxLen = ECDSAP256, maxDERP256
	case elliptic.P384():
		k.algorithm, k.maxLen = ECDSAP384, maxDERP384
	case elliptic.P521():
		k.algorithm, k.maxLen = ECDSAP521, maxDERP521
	default:
		return nil, fmt.Errorf("%w: ECDSA on curve %s; use a certificate on P-256, P-384 or P-521",
			ErrUnsupportedKey, pub.Curve.Params().Name)
	}
	own, err := copyECDSA(pub)
	if err != nil {
		return nil, fmt.Errorf("%w: ECDSA key on %s: %w; renew the certificate with a new key",
			ErrUnsupportedKey, pub.Curve.Params().Name, err)
	}
	k.price = priceOfECDSA(k.algorithm)
	k.verify = genericECDSA(own)
	if use.ecdsa != generic && k.algorithm != ECDSAP521 {
		batch, err := ecbatch.New(own, use.ecdsa == ifma)
		if err != nil {
			return nil, fmt.Errorf("preparing an ECDSA key on %s: %w", pub.Curve.Params().Name, err)
		}
		k.verify = batch.Verify
	}
	return k, nil
}

// copyECDSA gives a copy of pub, or an error if its point is not on its curve.
func copyECDSA(pub *ecdsa.PublicKey) (*ecdsa.PublicKey, error) {
	point, err := pub.Bytes()
	if err != nil {
		return nil, err
	}
	return ecdsa.ParseUncompressedPublicKey(pub.Curve, point)
}

// genericECDSA verifies one signature after the other with crypto/ecdsa. It
// defines what every other implementation has to answer.
func genericECDSA(pub *ecdsa.PublicKey) verifyFunc {
	return func(valid []bool, digests [][32]byte, signatures [][]byte) {
		for i, sig := range signatures {
			valid[i] = ecdsa.VerifyASN1(pub, digests[i][:], sig)
		}
	}
}
