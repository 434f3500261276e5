package mistake

// ECDSA. Such a signature shows nothing by itself, so everything is tried.

import (
	"crypto/ecdsa"
	"encoding/asn1"
	"math/big"
)

// numbers are an ECDSA signature (RFC 3279, section 2.2.3).
type numbers struct{ R, S *big.Int }

// numbersOf reads a signature in DER.
func numbersOf(sig []byte) (n numbers, ok bool) {
	rest, err := asn1.Unmarshal(sig, &n)
	return n, err == nil && len(rest) == 0
}

// findECDSA explains a signature under an ECDSA key.
func findECDSA(key *ecdsa.PublicKey, sig []byte, signed []message) []finding {
	var form *Mistake
	if _, ok := numbersOf(sig); !ok {
		size := (key.Params().N.BitLen() + 7) / 8
		if len(sig) != 2*size {
			return nil
		}
		form = pairOfNumbers
		var err error
		sig, err = asn1.Marshal(numbers{new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:])})
		if err != nil {
			return nil
		}
	}
	for _, function := range functions {
		for _, m := range signed {
			if digest := m.digest(function); digest != nil && ecdsa.VerifyASN1(key, digest, sig) {
				return []finding{{mistakes: join(named(m.mistake, form), functionMistake(function)), details: functionDetails(function)}}
			}
		}
	}
	return nil
}
