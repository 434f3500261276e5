package store

// Chains that sites served: rows of certificates.

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Certificate is a chain that a site served.
type Certificate struct {
	Site   string
	Chain  [][]byte // DER, leaf first; at least the leaf
	SeenAt int64    // Unix milliseconds
}

// InsertCertificates stores that chains were seen. The fingerprint, SHA-256 of the leaf, is computed here.
func (db *DB) InsertCertificates(ctx context.Context, certificates []Certificate) error {
	if len(certificates) == 0 {
		return nil
	}
	fingerprints := make([][32]byte, len(certificates))
	for i, c := range certificates {
		if len(c.Chain) == 0 {
			return fmt.Errorf("clickhouse: insert certificates: the chain of %s is empty", c.Site)
		}
		fingerprints[i] = sha256.Sum256(c.Chain[0])
	}
	leaves := project(certificates, func(c *Certificate) leaf { return readLeaf(c.Chain[0]) })
	const query = "INSERT INTO certificates (fingerprint, site, chain, first_seen, last_seen, subject, issuer, serial, not_before, not_after)"
	return db.insert(ctx, "insert certificates", query, len(certificates), func(b *block, from, to int) {
		certificates, fingerprints, leaves := certificates[from:to], fingerprints[from:to], leaves[from:to]
		seen := project(certificates, func(c *Certificate) int64 { return c.SeenAt })
		b.append(views(fingerprints))
		b.appendRepeating(project(certificates, func(c *Certificate) string { return c.Site }))
		appendArrays(b, project(certificates, func(c *Certificate) []string { return texts(c.Chain) }))
		b.append(seen)
		b.append(seen)
		b.append(project(leaves, func(l *leaf) string { return l.subject }))
		b.append(project(leaves, func(l *leaf) string { return l.issuer }))
		b.append(project(leaves, func(l *leaf) string { return l.serial }))
		b.append(project(leaves, func(l *leaf) int64 { return l.notBefore }))
		b.append(project(leaves, func(l *leaf) int64 { return l.notAfter }))
	})
}

// leaf is what a certificate says of itself, for analysts. Times are Unix milliseconds.
type leaf struct {
	subject, issuer, serial string
	notBefore, notAfter     int64
}

// readLeaf reads a certificate in DER. Of one that can't be read, nothing is known.
func readLeaf(der []byte) leaf {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return leaf{}
	}
	return leaf{
		subject: c.Subject.String(), issuer: c.Issuer.String(), serial: c.SerialNumber.Text(16),
		notBefore: c.NotBefore.UnixMilli(), notAfter: c.NotAfter.UnixMilli(),
	}
}

// describeCertificates stores again what was stored without what the certificates say of themselves.
func (db *DB) describeCertificates(ctx context.Context) error {
	const query = "SELECT site, any(c.chain), max(c.last_seen) FROM certificates AS c GROUP BY fingerprint, site HAVING max(c.serial) = ''"
	var all []Certificate
	err := db.selectAll(ctx, "look for certificates that aren't described", query, func(rows driver.Rows) error {
		var c Certificate
		var seen time.Time
		err := rows.Scan(&c.Site, &c.Chain, &seen)
		c.SeenAt = seen.UnixMilli()
		if err == nil && len(c.Chain) > 0 && readLeaf(c.Chain[0]).serial != "" {
			all = append(all, c)
		}
		return err
	})
	if err != nil {
		return err
	}
	return db.InsertCertificates(ctx, all)
}

// Certificate returns the chain whose leaf has this SHA-256, as it was seen last, and whether it was ever seen. Where
// several sites served it, Site is the one that did so last.
func (db *DB) Certificate(ctx context.Context, fingerprint [32]byte) (c Certificate, found bool, err error) {
	query := "SELECT site, chain, last_seen FROM certificates WHERE fingerprint = " + literal(fingerprint[:]) +
		" ORDER BY last_seen DESC LIMIT 1"
	err = db.readAll(ctx, "look up a certificate", query, func(rows driver.Rows) error {
		var seen time.Time
		found = true
		err := rows.Scan(&c.Site, &c.Chain, &seen)
		c.SeenAt = seen.UnixMilli()
		return err
	})
	return c, found, err
}
