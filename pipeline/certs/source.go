package certs

// A Source is a function, and sources are combined by functions that take and return sources. To add a way to get
// certificates, write a function.

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"countersign/pipeline/signature"
)

// A Source gives the chains that a site serves now: at most one with an RSA
// leaf and one with an ECDSA leaf, RSA first, and at least one of them. site is
// a host name in its canonical form (package hostname). It may be called
// concurrently, and returns within a bounded time even if ctx never ends. The
// error is an *[Unavailable], or wraps ctx's error where ctx ended first, or
// wraps [ErrBusy]: then nothing was found out about the site.
type Source func(ctx context.Context, site string) ([]Chain, error)

// Chain is a certificate chain, the leaf first, each certificate in DER. A chain
// from [Network] was validated and ends with a root. The bytes are shared and
// must not be changed.
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

// ErrUnknownSite is wrapped by an [Unavailable] of a source that has never
// heard of the site, as opposed to one that knows what is wrong with it.
var ErrUnknownSite = errors.New("unknown site")

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

// FirstOf asks the sources in turn until one knows the site: it goes on to the
// next only from an error that wraps [ErrUnknownSite].
func FirstOf(sources ...Source) Source {
	return func(ctx context.Context, site string) ([]Chain, error) {
		err := error(&Unavailable{
			Site:   site,
			Reason: site + ": this service is set up with no place to get certificates from; only its operator can mend that",
			Err:    ErrUnknownSite,
		})
		for _, source := range sources {
			var chains []Chain
			if chains, err = source(ctx, site); !errors.Is(err, ErrUnknownSite) {
				return chains, err
			}
		}
		return nil, err
	}
}

// kind is what a leaf's key is used for. A site has at most one leaf of each.
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
		return 0, err
	}
	switch leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		return kindRSA, nil
	case *ecdsa.PublicKey:
		return kindECDSA, nil
	}
	return 0, fmt.Errorf("%w: %T", signature.ErrUnsupportedKey, leaf.PublicKey)
}

// notAHostName is what every source answers for a name that is no host name. Sources check the name themselves,
// although the API has checked it before: here the name becomes part of a file's path and of a DNS query.
func notAHostName(site string) *Unavailable {
	return &Unavailable{
		Site: site,
		Reason: fmt.Sprintf("%.253q is not a host name; "+
			"name the site by its lower-case DNS name, without port or path", site),
	}
}
