package pemfile

// What callers make of a file.

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
)

// Certificates reads the certificates in a file, in their order. Problems are those that are left out; the caller must
// tell somebody of them. The error says why there is none.
func Certificates(name string) (certificates []*x509.Certificate, problems []*Problem, err error) {
	f, err := Read(name)
	if err != nil {
		return nil, nil, err
	}
	if len(f.Certificates) == 0 {
		return nil, nil, f.nothing(Certificate, "certificate")
	}
	return f.Certificates, f.of(Certificate), nil
}

// Roots reads the authorities in a file into a new pool that holds no others. Problems are those of its certificates
// that are left out; the caller must tell somebody of them. The error says why there is none.
func Roots(name string) (pool *x509.CertPool, problems []*Problem, err error) {
	certificates, problems, err := Certificates(name)
	if err != nil {
		return nil, nil, err
	}
	pool = x509.NewCertPool()
	for _, certificate := range certificates {
		pool.AddCert(certificate)
	}
	return pool, problems, nil
}

// PrivateKey reads the one private key in a file, which may hold certificates, too.
func PrivateKey(name string) (crypto.Signer, error) {
	f, err := Read(name)
	if err != nil {
		return nil, err
	}
	return f.key()
}

func (f *File) key() (crypto.Signer, error) {
	problems := f.of(Key)
	switch {
	case len(f.Keys) == 0:
		return nil, f.nothing(Key, "private key in PEM or DER")
	case len(problems) > 0:
		return nil, problems[0]
	}
	for _, key := range f.Keys[1:] {
		if !samePublic(key.Public(), f.Keys[0].Public()) {
			return nil, fmt.Errorf("%s holds %d private keys: leave the one that is meant", f.Name, len(f.Keys))
		}
	}
	return f.Keys[0], nil
}

// Pair reads the certificate that belongs to a key, with those above it, as a server or a client shows them. Both files
// may be the same one; the order of certificates doesn't matter. Problems are certificates that are left out because
// they can't be read; the caller must tell somebody of them.
func Pair(certFile, keyFile string) (pair tls.Certificate, problems []*Problem, err error) {
	certificates, err := Read(certFile)
	var key crypto.Signer
	var keyErr error
	if keyFile == certFile && err == nil {
		key, keyErr = certificates.key()
	} else {
		key, keyErr = PrivateKey(keyFile)
	}
	if err == nil && len(certificates.Certificates) == 0 {
		err = certificates.nothing(Certificate, "certificate")
	}
	if err := errors.Join(err, keyErr); err != nil {
		return tls.Certificate{}, nil, err
	}
	at := slices.IndexFunc(certificates.Certificates, func(c *x509.Certificate) bool { return samePublic(key.Public(), c.PublicKey) })
	if at < 0 {
		err := fmt.Errorf("none of the %d certificates in %s belongs to the key in %s", len(certificates.Certificates), certFile, keyFile)
		for _, p := range certificates.of(Certificate) {
			err = errors.Join(err, p)
		}
		return tls.Certificate{}, nil, err
	}
	chain := Chain(certificates.Certificates, at)
	pair = tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return pair, certificates.of(Certificate), nil
}

// of are the problems of a kind.
func (f *File) of(kind Kind) (problems []*Problem) {
	for _, p := range f.Problems {
		if p.Kind == kind {
			problems = append(problems, p)
		}
	}
	return problems
}

func samePublic(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}

// Chain puts the certificate at an index before those above it, up to one that issued itself or whose issuer isn't
// there. Of several issuers with the same name it takes one whose key made the signature, and of those the next one
// behind the certificate.
func Chain(certificates []*x509.Certificate, at int) []*x509.Certificate {
	chain := []*x509.Certificate{certificates[at]}
	for len(chain) <= len(certificates) {
		last := certificates[at]
		if bytes.Equal(last.RawIssuer, last.RawSubject) {
			break
		}
		named, signed := -1, -1
		for i := range certificates {
			next := (at + 1 + i) % len(certificates)
			issuer := certificates[next]
			if !bytes.Equal(issuer.RawSubject, last.RawIssuer) || slices.Contains(chain, issuer) {
				continue
			}
			if named < 0 {
				named = next
			}
			if issuer.CheckSignature(last.SignatureAlgorithm, last.RawTBSCertificate, last.Signature) == nil {
				signed = next
				break
			}
		}
		if at = signed; at < 0 {
			at = named
		}
		if at < 0 {
			break
		}
		chain = append(chain, certificates[at])
	}
	return chain
}
