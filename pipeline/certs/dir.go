package certs

// Dir serves closed networks: the operator puts the chains of each site into a file, and thereby vouches for them. So
// the chains need not lead to a root. The name and the time are still checked, because a file with a wrong name, or one
// that was forgotten, would count for ever.

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"countersign/internal/hostname"
)

// maxFile bounds a file of chains, in bytes.
const maxFile = 1 << 20

// DirConfig says how [Dir] checks what it reads. The zero value will do.
type DirConfig struct {
	// Clock gives the time at which leaves must be valid. Nil: time.Now.
	Clock func() time.Time
}

// Dir is the source that reads dir/<site>.pem (--cert-dir), at every call, so
// that a replaced file counts as soon as the cache above asks again. The file
// holds one or more chains in PEM, each leaf followed by its issuers; other
// blocks are skipped. Of several leaves of one kind that are valid now the one
// that became valid last counts. A site without a file is unknown
// ([ErrUnknownSite]).
func Dir(dir string, config DirConfig) Source {
	config = config.withDefaults()
	return func(_ context.Context, site string) ([]Chain, error) {
		// The check keeps the path inside dir: no separators, no "..".
		if hostname.Check(site) != nil {
			return nil, notAHostName(site)
		}
		text, err := readFile(filepath.Join(dir, site+".pem"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &Unavailable{
				Site: site,
				Reason: site + ": the operator of this service has set up no certificate for this site; " +
					"only the operator can mend that",
				Err: fmt.Errorf("%w: %w", ErrUnknownSite, err),
			}
		}
		if err != nil {
			return nil, unusableFile(site, "can't be read", err)
		}
		return chooseChains(site, text, config.Clock())
	}
}

func (c DirConfig) withDefaults() DirConfig {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return c
}

// readFile reads a regular file of at most maxFile bytes: opening anything
// else, a pipe say, could block.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, maxFile)
	}
	return text, nil
}

// chooseChains returns the chains in text whose leaves can be used, at most one for each kind of key.
func chooseChains(site string, text []byte, now time.Time) ([]Chain, error) {
	certificates, err := parseCertificates(text)
	if err != nil {
		return nil, unusableFile(site, "can't be parsed", err)
	}
	var chosen [kinds]*x509.Certificate
	var found [kinds]Chain
	reason, cause := "holds no certificate", error(nil)
	for _, certificates := range splitChains(certificates) {
		leaf := certificates[0]
		k, err := leafKind(leaf)
		if err != nil {
			reason, cause = "holds a certificate with a key of a kind or size that isn't accepted", err
			continue
		}
		if err := leaf.VerifyHostname(site); err != nil {
			reason, cause = "holds a certificate for other names", err
			continue
		}
		if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
			reason, cause = "holds a certificate that has expired or is not valid yet", nil
			continue
		}
		if chosen[k] == nil || leaf.NotBefore.After(chosen[k].NotBefore) {
			chosen[k], found[k] = leaf, chainOf(certificates)
		}
	}
	chains := present(found)
	if len(chains) == 0 {
		return nil, unusableFile(site, reason, cause)
	}
	return chains, nil
}

func unusableFile(site, what string, err error) *Unavailable {
	return &Unavailable{
		Site: site,
		Reason: fmt.Sprintf("%s: the file that the operator of this service set up for this site %s; "+
			"the operator must mend it", site, what),
		Err: err,
	}
}

func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var certificates []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return certificates, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certificates = append(certificates, certificate)
	}
}

// splitChains cuts a list after a certificate that isn't followed by its
// issuer, or is its own.
func splitChains(certificates []*x509.Certificate) [][]*x509.Certificate {
	var chains [][]*x509.Certificate
	start := 0
	for i, certificate := range certificates {
		selfIssued := bytes.Equal(certificate.RawIssuer, certificate.RawSubject)
		if i+1 == len(certificates) || selfIssued || !bytes.Equal(certificate.RawIssuer, certificates[i+1].RawSubject) {
			chains = append(chains, certificates[start:i+1])
			start = i + 1
		}
	}
	return chains
}

func chainOf(certificates []*x509.Certificate) Chain {
	var chain Chain
	for _, certificate := range certificates {
		chain.Certificates = append(chain.Certificates, certificate.Raw)
	}
	return chain
}
