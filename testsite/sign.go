package testsite

// What a site signs is the hex text of a file's SHA-256, no newline, with
// SHA-256 (contract, "what is signed").

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// HexText is the 64 characters that stand for hash in an upload, in upper case
// where upper is true.
func HexText(hash [32]byte, upper bool) string {
	text := hex.EncodeToString(hash[:])
	if upper {
		return strings.ToUpper(text)
	}
	return text
}

// SignRSA signs HexText(hash, upper) with the site's current RSA key (PKCS #1
// v1.5). It panics where the site has none: that is the caller's mistake.
func (s *Site) SignRSA(hash [32]byte, upper bool) []byte {
	return s.SignTextRSA(HexText(hash, upper))
}

// SignECDSA signs HexText(hash, upper) with the site's current ECDSA key, in
// DER. It panics where the site has none: that is the caller's mistake.
func (s *Site) SignECDSA(hash [32]byte, upper bool) []byte {
	return s.SignTextECDSA(HexText(hash, upper))
}

// SignTextRSA is SignRSA for any text.
func (s *Site) SignTextRSA(text string) []byte {
	key := s.RSAKey()
	if key == nil {
		panic("testsite: " + s.Name + " has no RSA key to sign with")
	}
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		panic("testsite: signing with the RSA key of " + s.Name + ": " + err.Error())
	}
	return signature
}

// SignTextECDSA is SignECDSA for any text.
func (s *Site) SignTextECDSA(text string) []byte {
	key := s.ECDSAKey()
	if key == nil {
		panic("testsite: " + s.Name + " has no ECDSA key to sign with")
	}
	digest := sha256.Sum256([]byte(text))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		panic("testsite: signing with the ECDSA key of " + s.Name + ": " + err.Error())
	}
	return signature
}
