package testsite

// A CA issues certificates the way public authorities do: a root that clients trust, and an intermediate that signs the
// sites' leaves.

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"time"
)

// Authorities and sites are valid from slack before they are made, so that a
// clock that is a little behind doesn't refuse them.
const slack = time.Hour

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	siteLife      = 90 * 24 * time.Hour
)

// CAConfig says what an authority is like. The zero value will do.
type CAConfig struct {
	// Name is the root's common name. Empty: "countersign test authority".
	Name string
	// Clock gives the time from which certificates are valid. Nil: time.Now.
	Clock func() time.Time
}

// A CA is a private authority: a root that clients are told to trust, and an
// intermediate under it that signs the sites' certificates, as on the public
// web. It is immutable and safe for concurrent use.
type CA struct {
	clock        func() time.Time
	root         *x509.Certificate
	intermediate *x509.Certificate
	key          *ecdsa.PrivateKey // the intermediate's
}

// NewCA makes an authority with fresh P-256 keys.
func NewCA(config CAConfig) (*CA, error) {
	if config.Clock == nil {
		config.Clock = time.Now
	}
	if config.Name == "" {
		config.Name = "countersign test authority"
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the root's key: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the intermediate's key: %w", err)
	}
	now := config.Clock()
	root, err := issue(authority(config.Name, now), nil, rootKey.Public(), rootKey)
	if err != nil {
		return nil, fmt.Errorf("making the root's certificate: %w", err)
	}
	intermediate, err := issue(authority(config.Name+", intermediate", now), root, key.Public(), rootKey)
	if err != nil {
		return nil, fmt.Errorf("making the intermediate's certificate: %w", err)
	}
	return &CA{clock: config.Clock, root: root, intermediate: intermediate, key: key}, nil
}

// RootsPEM is the root's certificate in PEM, as --cert-roots takes it.
func (ca *CA) RootsPEM() []byte { return encodeCertificates(ca.root.Raw) }

// Roots is a new pool that holds the root alone.
func (ca *CA) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.root)
	return pool
}

// WriteRoots writes RootsPEM to the file at path.
func (ca *CA) WriteRoots(path string) error {
	if err := os.WriteFile(path, ca.RootsPEM(), 0o644); err != nil {
		return fmt.Errorf("writing the roots: %w", err)
	}
	return nil
}

// authority is the template of a certificate that may sign others.
func authority(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-slack),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
}

// issue signs template for public under parent, or under itself where parent
// is nil, with a random serial number.
func issue(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	if parent == nil {
		parent = template
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func encodeCertificates(ders ...[]byte) []byte {
	var text []byte
	for _, der := range ders {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
}
