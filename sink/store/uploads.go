package store

// Who uploaded how much, and when: rows of uploads.

import (
	"context"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
)

// Upload is a row of uploads.
type Upload struct {
	ID         uuid.UUID
	Site       string
	Count      uint64 // pairs
	AcceptedAt int64  // Unix milliseconds
}

// InsertUploads stores rows of uploads. Callers with many uploads a second should put them into few calls: each call
// makes a part.
func (db *DB) InsertUploads(ctx context.Context, uploads []Upload) error {
	if len(uploads) == 0 {
		return nil
	}
	const query = "INSERT INTO uploads (id, site, count, accepted_at)"
	return db.insert(ctx, "insert uploads", query, len(uploads), func(b *block, from, to int) {
		uploads := uploads[from:to]
		b.append(project(uploads, func(u *Upload) uuid.UUID { return u.ID }))
		b.appendRepeating(project(uploads, func(u *Upload) string { return u.Site }))
		b.append(project(uploads, func(u *Upload) uint64 { return u.Count }))
		b.append(project(uploads, func(u *Upload) int64 { return u.AcceptedAt }))
	})
}

// Upload returns an accepted upload, and whether it is known. Uploads are kept for good: whether one is too old to be
// asked for is the caller's decision, by AcceptedAt.
func (db *DB) Upload(ctx context.Context, id uuid.UUID) (u Upload, found bool, err error) {
	query := "SELECT id, site, count, accepted_at FROM uploads WHERE id = '" + id.String() + "'" +
		" ORDER BY accepted_at LIMIT 1"
	err = db.selectAll(ctx, "look up an upload", query, func(rows driver.Rows) error {
		found = true
		return rows.Scan(&u.ID, &u.Site, &u.Count, &u.AcceptedAt)
	})
	return u, found, err
}
