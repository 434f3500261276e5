package mistake

// RSA. A signature can be opened with the public key: what comes out shows which hash function and which padding were
// used, and whether this key made it at all.

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
)

// findRSA explains a signature under an RSA key.
func findRSA(key *rsa.PublicKey, sig []byte, signed []message) []finding {
	if len(sig) != key.Size() {
		return nil
	}
	backwards := slices.Clone(sig)
	slices.Reverse(backwards)
	all := openRSA(key, sig, signed)
	for _, f := range openRSA(key, backwards, signed) {
		all = append(all, finding{mistakes: join(f.mistakes, []*Mistake{reversed}), details: f.details})
	}
	return all
}

func openRSA(key *rsa.PublicKey, sig []byte, signed []message) []finding {
	s := new(big.Int).SetBytes(sig)
	if s.Cmp(key.N) >= 0 {
		return nil
	}
	opened := s.Exp(s, big.NewInt(int64(key.E)), key.N).FillBytes(make([]byte, key.Size()))
	if content, ok := unpad(opened); ok {
		return []finding{ofContent(content, signed)}
	}
	if opened[len(opened)-1] == 0xbc {
		return findPSS(key, sig, signed)
	}
	return nil
}

// unpad takes the padding of PKCS #1 v1.5 off (RFC 8017, section 9.2).
func unpad(opened []byte) (content []byte, ok bool) {
	if opened[0] != 0 || opened[1] != 1 {
		return nil, false
	}
	rest := bytes.TrimLeft(opened[2:], "\xff")
	if len(opened)-2-len(rest) < 8 || len(rest) == 0 || rest[0] != 0 {
		return nil, false
	}
	return rest[1:], true
}

// ofContent explains what a PKCS #1 signature is over: a digest with the name of its function, or something bare.
func ofContent(content []byte, signed []message) finding {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
	if rest, err := asn1.Unmarshal(content, &info); err == nil && len(rest) == 0 {
		return ofDigest(info.Algorithm.Algorithm, info.Digest, signed)
	}
	for _, m := range signed {
		if m.digests == nil && bytes.Equal(content, m.text) {
			return finding{mistakes: named(m.mistake, noDigestInfo)}
		}
		for _, function := range functions {
			if digest := m.digest(function); digest != nil && bytes.Equal(content, digest) {
				return finding{mistakes: join(named(m.mistake, noDigestInfo), functionMistake(function))}
			}
		}
	}
	return finding{mistakes: []*Mistake{noDigestInfo, otherText}, details: []string{fmt.Sprintf("It is over %d bytes", len(content))}}
}

// ofDigest explains a signature over a digest.
func ofDigest(id asn1.ObjectIdentifier, digest []byte, signed []message) finding {
	for _, function := range functions {
		if !id.Equal(identifier(function)) {
			continue
		}
		f := finding{mistakes: functionMistake(function), details: functionDetails(function)}
		for _, m := range signed {
			if known := m.digest(function); known != nil && bytes.Equal(digest, known) {
				f.mistakes = join(named(m.mistake), f.mistakes)
				return f
			}
		}
		f.mistakes = join([]*Mistake{otherText}, f.mistakes)
		f.details = append(f.details, fmt.Sprintf("It is over something whose %s is %x", function, digest))
		return f
	}
	return finding{mistakes: []*Mistake{otherDigest, otherText}, details: []string{"Its hash function has the object identifier " + id.String()}}
}

// identifier is the object identifier of a function (RFC 8017, appendix B.1).
func identifier(function crypto.Hash) asn1.ObjectIdentifier {
	nist := asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2}
	switch function {
	case crypto.MD5:
		return asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 5}
	case crypto.SHA1:
		return asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	case crypto.SHA256:
		return append(nist, 1)
	case crypto.SHA384:
		return append(nist, 2)
	case crypto.SHA512:
		return append(nist, 3)
	case crypto.SHA224:
		return append(nist, 4)
	default:
		return nil
	}
}

// findPSS explains a signature whose padding is that of PSS.
func findPSS(key *rsa.PublicKey, sig []byte, signed []message) []finding {
	for _, function := range functions {
		for _, m := range signed {
			digest := m.digest(function)
			if digest != nil && rsa.VerifyPSS(key, function, digest, sig, nil) == nil {
				return []finding{{mistakes: join(named(m.mistake, pss), functionMistake(function)), details: functionDetails(function)}}
			}
		}
	}
	return nil // one signature in 256 by another key ends like this
}

// named are the mistakes that there are.
func named(all ...*Mistake) []*Mistake {
	return slices.DeleteFunc(all, func(m *Mistake) bool { return m == nil })
}

func functionMistake(function crypto.Hash) []*Mistake {
	if function == crypto.SHA256 {
		return nil
	}
	return []*Mistake{otherDigest}
}

func functionDetails(function crypto.Hash) []string {
	if function == crypto.SHA256 {
		return nil
	}
	return []string{"It was made with " + function.String()}
}
