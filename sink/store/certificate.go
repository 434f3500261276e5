package store

import (
	"context"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Certificate returns the chain whose leaf has this SHA-256, as it was seen last, and whether it was ever seen. Where several sites
// served it, Site is the one that did so last.
func (db *DB) Certificate(ctx context.Context, fingerprint [32]byte) (c Certificate, found bool, err error) {
	query := "SELECT site, chain, last_seen FROM certificates WHERE fingerprint = " + literal(fingerprint[:]) + " ORDER BY last_seen DESC LIMIT 1"
	err = db.selectAll(ctx, "look up a certificate", query, func(rows driver.Rows) error {
		var seen time.Time
		found = true
		err := rows.Scan(&c.Site, &c.Chain, &seen)
		c.SeenAt = seen.UnixMilli()
		return err
	})
	return c, found, err
}
