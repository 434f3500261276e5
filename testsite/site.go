package testsite

// A Site is a name with keys. Its keys and certificates are one value, an
// identity, that Rotate replaces whole: a handshake or a signature never mixes
// two of them.

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"countersign/testsite/fastrsa"
)

// SiteConfig says which keys a site has and how its certificates come out. At
// least one of the keys must be asked for; all else may stay zero.
type SiteConfig struct {
	// RSABits is the size of a new RSA key in bits; 0: no RSA certificate.
	// Making 4096 bits takes about a second, 8192 bits many.
	RSABits int
	// Curve is the curve of a new ECDSA key; nil: no ECDSA certificate.
	Curve elliptic.Curve

	// Keys are used instead of making new ones, to save time or to serve kinds
	// that the service refuses. RSABits and Curve are then ignored.
	Keys []crypto.Signer

	// Names the certificates are for. Empty: the site's name.
	Names []string
	// NotBefore and NotAfter bound the certificates' validity. Zero: from an
	// hour ago for 90 days.
	NotBefore, NotAfter time.Time
	// SelfSigned certificates are signed by their own key.
	SelfSigned bool
	// LeafOnly leaves the intermediate out of what is served.
	LeafOnly bool

	// MinVersion and MaxVersion bound the TLS versions served, as in
	// [tls.Config]. Zero: TLS 1.2 and 1.3.
	MinVersion, MaxVersion uint16
}

// A Site serves and signs under one name. It is safe for concurrent use.
type Site struct {
	// Name is the site's host name.
	Name string

	ca *CA

	handshakeTimeout time.Duration // how long a client may take for its handshake; set before Serve
	handshakes       atomic.Int64
	connections      atomic.Int64

	mu       sync.Mutex // guards what follows
	identity *identity
	server   *server // nil while the site doesn't serve
	address  string  // host:port of the first Serve; a later one uses it again
}

// identity is a set of keys with their certificates. Immutable.
type identity struct {
	rsa    *rsa.PrivateKey
	ecdsa  *ecdsa.PrivateKey
	chains []tls.Certificate // ECDSA first: what servers prefer when the client takes both
	tls    *tls.Config
}

// NewSite makes a site's keys and certificates. It doesn't serve yet.
func (ca *CA) NewSite(name string, config SiteConfig) (*Site, error) {
	id, err := ca.newIdentity(name, config)
	if err != nil {
		return nil, fmt.Errorf("making the site %s: %w", name, err)
	}
	return &Site{Name: name, ca: ca, handshakeTimeout: usualHandshakeTimeout, identity: id}, nil
}

// Rotate makes new keys and certificates, which are served from now on. On an
// error the old ones stay.
func (s *Site) Rotate(config SiteConfig) error {
	id, err := s.ca.newIdentity(s.Name, config)
	if err != nil {
		return fmt.Errorf("rotating the site %s: %w", s.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.identity = id
	return nil
}

// RSAKey is the current RSA key, nil where the site has none.
func (s *Site) RSAKey() *rsa.PrivateKey { return s.current().rsa }

// ECDSAKey is the current ECDSA key, nil where the site has none.
func (s *Site) ECDSAKey() *ecdsa.PrivateKey { return s.current().ecdsa }

// Chains are the chains served now, leaf first, in DER: RSA before ECDSA.
// They must not be changed.
func (s *Site) Chains() [][][]byte {
	var rsaChains, others [][][]byte
	for _, c := range s.current().chains {
		if _, ok := c.PrivateKey.(*rsa.PrivateKey); ok {
			rsaChains = append(rsaChains, c.Certificate)
		} else {
			others = append(others, c.Certificate)
		}
	}
	return append(rsaChains, others...)
}

// WriteChain writes the chains to dir/<name>.pem, as --cert-dir expects them,
// and returns the file's path.
func (s *Site) WriteChain(dir string) (path string, err error) {
	var text []byte
	for _, chain := range s.Chains() {
		text = append(text, encodeCertificates(chain...)...)
	}
	path = filepath.Join(dir, s.Name+".pem")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return "", fmt.Errorf("writing the chains of %s: %w", s.Name, err)
	}
	return path, nil
}

// WriteKeys writes the private keys as PKCS #8 in PEM to dir/<name>.rsa.key
// and dir/<name>.ecdsa.key, those that there are, for `openssl dgst -sign`.
func (s *Site) WriteKeys(dir string) error {
	id := s.current()
	if id.rsa != nil {
		if err := writeKey(filepath.Join(dir, s.Name+".rsa.key"), id.rsa); err != nil {
			return fmt.Errorf("writing the RSA key of %s: %w", s.Name, err)
		}
	}
	if id.ecdsa != nil {
		if err := writeKey(filepath.Join(dir, s.Name+".ecdsa.key"), id.ecdsa); err != nil {
			return fmt.Errorf("writing the ECDSA key of %s: %w", s.Name, err)
		}
	}
	return nil
}

func (s *Site) current() *identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity
}

func writeKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func (ca *CA) newIdentity(name string, config SiteConfig) (*identity, error) {
	keys, err := config.keys()
	if err != nil {
		return nil, err
	}
	id := &identity{}
	for _, key := range keys {
		switch key := key.(type) {
		case *rsa.PrivateKey:
			id.rsa = key
		case *ecdsa.PrivateKey:
			id.ecdsa = key
		}
		chain, err := ca.certify(name, key, config)
		if err != nil {
			return nil, err
		}
		served := tls.Certificate{Certificate: chain, PrivateKey: key}
		if _, ours := key.(*fastrsa.Key); ours { // signs PKCS #1 v1.5 only, which TLS 1.2 takes
			served.SupportedSignatureAlgorithms = []tls.SignatureScheme{tls.PKCS1WithSHA256}
		}
		id.chains = append(id.chains, served)
	}
	id.tls = &tls.Config{
		Certificates:           id.chains,
		MinVersion:             config.MinVersion,
		MaxVersion:             config.MaxVersion,
		SessionTicketsDisabled: true,
	}
	return id, nil
}

// keys gives the keys that the configuration holds or asks to be made, ECDSA
// first.
func (config SiteConfig) keys() ([]crypto.Signer, error) {
	if len(config.Keys) > 0 {
		return config.Keys, nil
	}
	var keys []crypto.Signer
	if config.Curve != nil {
		key, err := ecdsa.GenerateKey(config.Curve, rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("making an ECDSA key: %w", err)
		}
		keys = append(keys, key)
	}
	if config.RSABits != 0 {
		key, err := rsa.GenerateKey(rand.Reader, config.RSABits)
		if err != nil {
			return nil, fmt.Errorf("making an RSA key of %d bits: %w", config.RSABits, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("no key was asked for: set RSABits, Curve or Keys")
	}
	return keys, nil
}

// certify makes a leaf certificate for key and returns the chain to serve.
func (ca *CA) certify(name string, key crypto.Signer, config SiteConfig) ([][]byte, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		DNSNames:    config.Names,
		NotBefore:   config.NotBefore,
		NotAfter:    config.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if len(template.DNSNames) == 0 {
		template.DNSNames = []string{name}
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = ca.clock().Add(-slack)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = template.NotBefore.Add(siteLife)
	}
	parent, signer := ca.intermediate, crypto.Signer(ca.key)
	if config.SelfSigned {
		parent, signer = nil, key
	}
	leaf, err := issue(template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	if config.SelfSigned || config.LeafOnly {
		return [][]byte{leaf.Raw}, nil
	}
	return [][]byte{leaf.Raw, ca.intermediate.Raw}, nil
}
