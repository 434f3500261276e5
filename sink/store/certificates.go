package store

// Chains that sites served: rows of certificates.

import (
	"context"
	"crypto/sha256"
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
	const query = "INSERT INTO certificates (fingerprint, site, chain, first_seen, last_seen)"
	return db.insert(ctx, "insert certificates", query, len(certificates), func(b *block, from, to int) {
		certificates, fingerprints := certificates[from:to], fingerprints[from:to]
		seen := project(certificates, func(c *Certificate) int64 { return c.SeenAt })
		b.append(views(fingerprints))
		b.appendRepeating(project(certificates, func(c *Certificate) string { return c.Site }))
		appendArrays(b, project(certificates, func(c *Certificate) []string { return texts(c.Chain) }))
		b.append(seen)
		b.append(seen)
	})
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
