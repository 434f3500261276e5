package mistake

// The question, its answer, and the search.

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"countersign/pipeline/signature"
)

// Question is a signature that somebody wonders about.
type Question struct {
	Site string // the host name that it was sent for
	Hash string // the hash as it was sent: 64 hex digits
	Text string // the signature as it was sent
	// Signature is what the service reads in Text; nil: nothing.
	Signature []byte
	// Certificates are those under which it may be right, the site's first. Issuers have no place here.
	Certificates []*x509.Certificate
	// Names are what the file may be called in a line of sha256sum. None: it is not known.
	Names []string
	// Digests are of the file's content, by other functions than SHA-256, as far as they are known.
	Digests map[crypto.Hash][]byte
	// Now is when the certificates must be valid.
	Now time.Time
}

// Answer is what was found. A signature without mistakes is valid.
type Answer struct {
	Mistakes []*Mistake
	// By is the certificate whose key made the signature. Nil: that is not known.
	By *x509.Certificate
	// Details say more about this signature, each in a sentence without a full stop.
	Details []string
}

// Valid reports whether the service accepts the signature where the site serves Answer.By.
func (a Answer) Valid() bool { return len(a.Mistakes) == 0 }

// Explain says what is wrong with a signature. Of several explanations it gives the one with the fewest mistakes.
func Explain(q Question) Answer {
	var best *Answer
	take := func(a Answer) {
		if best == nil || len(a.Mistakes) < len(best.Mistakes) {
			best = &a
		}
	}
	all, signed := readings(q), messages(q)
	for _, leaf := range q.Certificates {
		ofKey := keyMistakes(q, leaf)
		for _, r := range all {
			for _, f := range findings(leaf.PublicKey, r.signature, signed) {
				if len(f.mistakes) == 0 && !accepted(leaf.PublicKey, q.Hash, r.signature) {
					f.mistakes = []*Mistake{noDigestInfo}
				}
				take(Answer{By: leaf, Mistakes: join(r.mistakes, f.mistakes, ofKey), Details: f.details})
			}
		}
	}
	if best != nil {
		return *best
	}
	return unrecognised(q, all)
}

// findings are the explanations of a signature under a key; none: the key made no such signature.
func findings(key crypto.PublicKey, sig []byte, signed []message) []finding {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return findRSA(key, sig, signed)
	case *ecdsa.PublicKey:
		return findECDSA(key, sig, signed)
	}
	return nil
}

// accepted asks whoever decides in the service, who takes one form only. A key of no accepted kind has a mistake of its
// own.
func accepted(key crypto.PublicKey, hash string, sig []byte) bool {
	verifier, err := signature.NewKey(key)
	if err != nil {
		return true
	}
	valid := make([]bool, 1)
	verifier.Verify(valid, [][32]byte{sha256.Sum256([]byte(hash))}, [][]byte{sig})
	return valid[0]
}

// finding is an explanation of a signature under a key.
type finding struct {
	mistakes []*Mistake
	details  []string
}

func join(lists ...[]*Mistake) (all []*Mistake) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// keyMistakes says why a certificate's key doesn't count for the site.
func keyMistakes(q Question, leaf *x509.Certificate) (all []*Mistake) {
	if _, err := signature.NewKey(leaf.PublicKey); err != nil {
		all = append(all, unusable)
	}
	if q.Now.After(leaf.NotAfter) {
		all = append(all, expired)
	}
	if q.Now.Before(leaf.NotBefore) {
		all = append(all, notYet)
	}
	if leaf.VerifyHostname(q.Site) != nil {
		all = append(all, otherSite)
	}
	return all
}

// unrecognised says what is known of a signature that no explanation fits.
func unrecognised(q Question, all []reading) Answer {
	if len(all) == 0 {
		return Answer{Mistakes: []*Mistake{noText}, Details: []string{whereNoText(q.Text)}}
	}
	r := all[0] // what the service reads, unless the text can only be meant as hex
	for _, other := range all {
		if slices.Contains(other.mistakes, hexText) {
			r = other
		}
	}
	a := Answer{Mistakes: join(r.mistakes, []*Mistake{otherKeyOrText})}
	if _, isDER := numbersOf(r.signature); !isDER || !hasECDSA(q.Certificates) {
		a.Mistakes = join(r.mistakes, []*Mistake{otherKey})
	}
	a.Details = append(a.Details, "The signature has "+shape(r.signature))
	for _, leaf := range q.Certificates {
		if _, err := signature.NewKey(leaf.PublicKey); err != nil {
			a.Mistakes = join(r.mistakes, []*Mistake{unusable})
		}
		a.Details = append(a.Details, "The certificate of "+Name(leaf)+" has "+keyShape(leaf.PublicKey))
	}
	return a
}

func hasECDSA(certificates []*x509.Certificate) bool {
	for _, leaf := range certificates {
		if _, ok := leaf.PublicKey.(*ecdsa.PublicKey); ok {
			return true
		}
	}
	return false
}

// shape says of what kind a signature can be.
func shape(sig []byte) string {
	if _, ok := numbersOf(sig); ok {
		return fmt.Sprintf("%d bytes in DER, as ECDSA signatures have", len(sig))
	}
	return fmt.Sprintf("%d bytes, as one by an RSA key of %d bits has", len(sig), 8*len(sig))
}

func keyShape(key crypto.PublicKey) string {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("an RSA key of %d bits", key.N.BitLen())
	case *ecdsa.PublicKey:
		return "an ECDSA key on " + key.Params().Name
	}
	return fmt.Sprintf("a key of type %T", key)
}

// Name names a certificate in a sentence: by the name that it is for, its last day and its fingerprint, by which the
// service names it, too.
func Name(leaf *x509.Certificate) string {
	name := leaf.Subject.CommonName
	if len(leaf.DNSNames) > 0 {
		name = leaf.DNSNames[0]
	}
	return fmt.Sprintf("%.253q, valid until %s, SHA-256 %x", name, leaf.NotAfter.UTC().Format(time.DateOnly), sha256.Sum256(leaf.Raw))
}

// distinct leaves out a message that is the same as an earlier one.
func distinct(all []message) (kept []message) {
	for _, m := range all {
		same := false
		for _, k := range kept {
			same = same || m.digests == nil && k.digests == nil && bytes.Equal(m.text, k.text)
		}
		if !same {
			kept = append(kept, m)
		}
	}
	return kept
}
