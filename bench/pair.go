package bench

// How a signed pair lies in a file: as it goes over the wire, so that a body is a stretch of the file and the kernel
// can send it without a copy through this process, which shares its cores with the service. Each pair is
//
//	,["<hash in hex>","<signature in the API's base64>"]
//
// padded with spaces, which JSON allows there, to its algorithm's width. The comma comes first: a body is "[", a
// stretch without its first byte, and "]".

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
)

const (
	beforeHash      = `,["`
	beforeSignature = `","`
	afterSignature  = `"]`
	hashText        = 2 * sha256.Size
	pairFrame       = len(beforeHash) + hashText + len(beforeSignature) + len(afterSignature)
)

// alphabet is standard base64 with the contract's three replacements, so that a signature can also stand in a query.
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-~"

func encoding() *base64.Encoding { return base64.NewEncoding(alphabet).WithPadding('_') }

// putPair fills dst, which is one width long.
func putPair(dst []byte, hash [32]byte, signature []byte, enc *base64.Encoding) {
	n := copy(dst, beforeHash)
	n += hex.Encode(dst[n:], hash[:])
	n += copy(dst[n:], beforeSignature)
	enc.Encode(dst[n:], signature)
	n += enc.EncodedLen(len(signature))
	n += copy(dst[n:], afterSignature)
	for ; n < len(dst); n++ {
		dst[n] = ' '
	}
}

// textPair is one pair as it stands in a file: both point into it.
type textPair struct{ hash, signature []byte }

// hexText is the hash as it is sent and signed.
func hexText(hash [32]byte) string { return hex.EncodeToString(hash[:]) }

// getPair finds the texts in what putPair filled.
func getPair(src []byte) (textPair, error) {
	start := len(beforeHash) + hashText + len(beforeSignature)
	end := bytes.LastIndex(src, []byte(afterSignature))
	if !bytes.HasPrefix(src, []byte(beforeHash)) || end < start {
		return textPair{}, fmt.Errorf("%.20q is no pair", src)
	}
	return textPair{src[len(beforeHash):][:hashText], src[start:end]}, nil
}

// signed is pairs in the form in which verifiers take them.
type signed struct {
	digests    [][32]byte // of the hashes' texts
	signatures [][]byte
}

// add decodes a pair.
func (s *signed) add(p textPair, enc *base64.Encoding) error {
	signature, err := enc.DecodeString(string(p.signature))
	if err != nil {
		return fmt.Errorf("signature %.20q: %w", p.signature, err)
	}
	s.digests = append(s.digests, sha256.Sum256(p.hash))
	s.signatures = append(s.signatures, signature)
	return nil
}
