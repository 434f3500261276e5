package store

// Who uploaded how much, and when: rows of uploads.

import (
	"context"
	"fmt"

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
// asked for is the caller's decision, by AcceptedAt. Upload is for those who accept uploads: it doesn't wait behind the
// reads of callers.
func (db *DB) Upload(ctx context.Context, id uuid.UUID) (u Upload, found bool, err error) {
	all, err := db.uploads(ctx, db.conn, []uuid.UUID{id})
	u, found = all[id]
	return u, found, err
}

// Uploads is Upload for many at once, those that are known. It is a read of callers.
func (db *DB) Uploads(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]Upload, error) {
	return db.uploads(ctx, db.reads, ids)
}

func (db *DB) uploads(ctx context.Context, conn driver.Conn, ids []uuid.UUID) (map[uuid.UUID]Upload, error) {
	found := make(map[uuid.UUID]Upload, len(ids))
	for _, some := range byPlace(db.layout(), ids, idBytes, tables["uploads"]) {
		ctx, where, err := whereID(ctx, "id", some)
		if err != nil {
			return nil, fmt.Errorf("clickhouse: look up uploads: %w", err)
		}
		query := "SELECT id, site, count, accepted_at FROM uploads WHERE " + where + " ORDER BY accepted_at LIMIT 1 BY id"
		err = db.selectOn(ctx, conn, "look up uploads", query, func(rows driver.Rows) error {
			var u Upload
			err := rows.Scan(&u.ID, &u.Site, &u.Count, &u.AcceptedAt)
			found[u.ID] = u
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// whereID is the condition that a column is one of some ids, and the context that a query with it needs.
func whereID(ctx context.Context, column string, some share[uuid.UUID]) (context.Context, string, error) {
	if len(some.keys) == 1 {
		return ctx, column + " = '" + some.keys[0].String() + "'" + some.only, nil
	}
	ctx, err := withWanted(ctx, "UUID", some.keys)
	return ctx, column + " IN (SELECT key FROM wanted)" + some.only, err
}
