package certs

// What a look brings home, and what is said where it brings nothing.

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"countersign/pipeline/signature"
)

// A source looks at a site: it gives the chains that the site serves now, at least one, RSA leaves first. site is a
// host name in its canonical form (package hostname). It may be called concurrently, and returns within a bounded time
// even if ctx never ends. What the look costs others is charged to accounts: the site's domain, and a client where one
// is known. The error is an *[Unavailable], or wraps ctx's error where ctx ended first. partial says that the site may
// serve more than was found, because some of it gave no answer. Where some of it wasn't asked, for want of a turn, there
// may be an error beside what was found.
type source func(ctx context.Context, site string, accounts []account) (found []found, partial bool, err error)

// found is a chain that a source found, and how long it is valid.
type found struct {
	chain Chain
	until time.Time
}

// Chain is a certificate chain, the leaf first, each certificate in DER. A chain that came over the network was
// validated and ends with a root. The bytes are shared and must not be changed.
type Chain struct {
	Certificates [][]byte
}

// Leaf parses the leaf certificate.
func (c Chain) Leaf() (*x509.Certificate, error) {
	if len(c.Certificates) == 0 {
		return nil, errors.New("reading a leaf certificate: the chain is empty")
	}
	leaf, err := x509.ParseCertificate(c.Certificates[0])
	if err != nil {
		return nil, fmt.Errorf("reading a leaf certificate: %w", err)
	}
	return leaf, nil
}

// Fingerprint is the SHA-256 of the leaf's DER, zero for an empty chain.
func (c Chain) Fingerprint() [32]byte {
	if len(c.Certificates) == 0 {
		return [32]byte{}
	}
	return sha256.Sum256(c.Certificates[0])
}

// size is the chain's length in bytes of DER.
func (c Chain) size() int {
	n := 0
	for _, certificate := range c.Certificates {
		n += len(certificate)
	}
	return n
}

// errUnknownSite is wrapped by an [Unavailable] of a source that has never
// heard of the site, as opposed to one that knows what is wrong with it.
var errUnknownSite = errors.New("unknown site")

// Unavailable says that a site's certificate can't be had. It is immutable.
type Unavailable struct {
	Site string
	// Reason is a sentence for the uploader: what is wrong and what mends it.
	// It holds no text that a server or a certificate made up, and no address.
	Reason string
	// Err is the cause, for the operator's log. It may be nil.
	Err error
}

// Error gives the reason and its cause.
func (u *Unavailable) Error() string {
	if u.Err == nil {
		return u.Reason
	}
	return u.Reason + " (" + u.Err.Error() + ")"
}

// Unwrap gives Err.
func (u *Unavailable) Unwrap() error { return u.Err }

// kind is what a leaf's key is used for.
type kind int

const (
	kindRSA kind = iota
	kindECDSA
	kinds // how many there are
)

// leafKind says of which kind leaf is. The error says why the service can't
// verify with its key; package signature decides that alone.
func leafKind(leaf *x509.Certificate) (kind, error) {
	if _, err := signature.NewKey(leaf.PublicKey); err != nil {
		return 0, &unusableKey{what: describeKey(leaf), err: err}
	}
	switch leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		return kindRSA, nil
	case *ecdsa.PublicKey:
		return kindECDSA, nil
	}
	return 0, fmt.Errorf("%w: %T", signature.ErrUnsupportedKey, leaf.PublicKey)
}

// notAHostName is the answer for a name that is no host name. It is checked here although the API has checked it
// before: here the name becomes part of a file's path and of a DNS query.
func notAHostName(site string) *Unavailable {
	return &Unavailable{
		Site: site,
		Reason: fmt.Sprintf("%.253q is not a host name; name the site by its lower-case DNS name, "+
			"without port or path", site),
	}
}
