package signature

// RSA: which keys are accepted, and the implementation over crypto/rsa.

import (
	"crypto"
	"crypto/rsa"
	"fmt"
	"math/big"

	"countersign/pipeline/signature/internal/rsa52"
)

const (
	minModulusBits = 2048      // CA/Browser Forum Baseline Requirements, section 6.1.5
	maxModulusBits = 8192      // a longer signature costs too much to check for strangers
	maxExponent    = 1<<31 - 1 // crypto/rsa's own bound
)

func newRSAKey(pub *rsa.PublicKey, use features) (*Key, error) {
	if err := checkRSA(pub); err != nil {
		return nil, err
	}
	own := &rsa.PublicKey{N: new(big.Int).Set(pub.N), E: pub.E}
	k := &Key{
		algorithm: RSA,
		minLen:    own.Size(),
		maxLen:    own.Size(),
		price:     priceOfRSA(own, rsa52.Fits(own)),
		verify:    genericRSA(own),
	}
	if use.rsa == ifma && rsa52.Fits(own) {
		k.verify = rsa52.New(own).Verify
	}
	return k, nil
}

// checkRSA accepts exactly the keys for which crypto/rsa gives verdicts rather
// than errors, within our bounds on the modulus.
func checkRSA(pub *rsa.PublicKey) error {
	if pub == nil || pub.N == nil || pub.N.Sign() <= 0 {
		return fmt.Errorf("%w: RSA key without a modulus; renew the certificate", ErrUnsupportedKey)
	}
	if bits := pub.N.BitLen(); bits < minModulusBits || bits > maxModulusBits {
		return fmt.Errorf("%w: RSA modulus of %d bits; use a certificate with %d to %d bits",
			ErrUnsupportedKey, bits, minModulusBits, maxModulusBits)
	}
	if pub.N.Bit(0) == 0 {
		return fmt.Errorf("%w: RSA modulus is even, so it is no product of two primes; renew the certificate with a new key",
			ErrUnsupportedKey)
	}
	if pub.E < 3 || pub.E > maxExponent || pub.E&1 == 0 {
		return fmt.Errorf("%w: RSA exponent %d; use a key with an odd exponent from 3 to 2^31-1, such as 65537",
			ErrUnsupportedKey, pub.E)
	}
	return nil
}

// genericRSA verifies one signature after the other with crypto/rsa. It defines
// what every other implementation has to answer.
func genericRSA(pub *rsa.PublicKey) verifyFunc {
	return func(valid []bool, digests [][32]byte, signatures [][]byte) {
		for i, sig := range signatures {
			valid[i] = rsa.VerifyPKCS1v15(pub, crypto.SHA256, digests[i][:], sig) == nil
		}
	}
}
