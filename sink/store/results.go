package store

// What became of batches: rows of outcomes, which count, and of exceptions, which name the pairs that were not added.
// Each query counts a key once, however many copies of its row are unmerged (I5).

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"countersign/pipeline/record"
)

// ResultRow is what one record of the log found of one batch: a row of outcomes and, where pairs were not added, a row
// of exceptions. Its key is (Upload, Batch, Shard, Part).
type ResultRow struct {
	Upload     uuid.UUID
	Batch      uint32 // from 1
	Shard      int32  // -1: the outcome of verifying
	Part       uint32 // from 0
	Site       string // empty where the record doesn't tell: outcomes of verifying from before version 2
	AcceptedAt int64  // Unix milliseconds
	Claims     uint32 // of the outcome of verifying: valid pairs, sent to the shards
	LogOffset  int64  // of the record

	Added, Duplicates, BadSignatures Entries
	Errors                           []Failure // ascending by Index

	// Certificates are those that verified the pairs of Added and Duplicates, each once.
	Certificates []CertificateCount

	// Failed are further errors, which have one reason. None of their indexes is one of Errors.
	Failed       Entries
	FailedReason string
}

// CertificateCount is how many pairs of a row were verified by a certificate.
type CertificateCount struct {
	Fingerprint       [32]byte // SHA-256 of the leaf
	Added, Duplicates uint32
}

// ErrorCount is how many pairs could not be judged.
func (r *ResultRow) ErrorCount() int { return len(r.Errors) + r.Failed.Len() }

// IsException reports whether the row names pairs that were not added.
func (r *ResultRow) IsException() bool {
	return r.Duplicates.Len()+r.BadSignatures.Len()+r.ErrorCount() > 0
}

// FirstReason is the reason of the error with the lowest index, and empty where there is no error.
func (r *ResultRow) FirstReason() string {
	switch {
	case len(r.Errors) > 0 && (r.Failed.Len() == 0 || r.Errors[0].Index < r.Failed.Indexes[0]):
		return r.Errors[0].Reason
	case r.Failed.Len() > 0:
		return r.FailedReason
	}
	return ""
}

// Entries are hashes of one batch.
type Entries struct {
	Hashes  []byte   // 32 bytes each
	Indexes []uint16 // within the batch, ascending
	Upper   []byte   // bitmap: bit i%8 of byte i/8 is set when hash i was sent in upper case; nil: none was
}

// Len is the number of hashes.
func (e *Entries) Len() int { return len(e.Indexes) }

// Failure is a pair whose signature could not be checked.
type Failure struct {
	Index  uint16 // within the batch
	Text   string // the hash as sent
	Reason string
}

// InsertOutcomes stores the counts of rows. What they count must be stored before: whoever sees the counts asks for it.
// Nothing of rows is retained after the return.
func (db *DB) InsertOutcomes(ctx context.Context, rows []ResultRow) error {
	if len(rows) == 0 {
		return nil
	}
	const query = "INSERT INTO outcomes (upload, batch, shard, part, site, accepted_at, claims, added, duplicates, bad_signatures, errors," +
		" certificates, certificate_added, certificate_duplicates, log_offset)"
	return db.insert(ctx, "insert outcomes", query, len(rows), func(b *block, from, to int) {
		rows := rows[from:to]
		b.appendKeys(rows)
		b.appendRepeating(project(rows, func(r *ResultRow) string { return r.Site }))
		b.append(project(rows, func(r *ResultRow) int64 { return r.AcceptedAt }))
		b.append(project(rows, func(r *ResultRow) uint32 { return r.Claims }))
		b.append(project(rows, func(r *ResultRow) uint32 { return uint32(r.Added.Len()) }))
		b.append(project(rows, func(r *ResultRow) uint32 { return uint32(r.Duplicates.Len()) }))
		b.append(project(rows, func(r *ResultRow) uint32 { return uint32(r.BadSignatures.Len()) }))
		b.append(project(rows, func(r *ResultRow) uint32 { return uint32(r.ErrorCount()) }))
		appendArrays(b, project(rows, func(r *ResultRow) [][]byte {
			return project(r.Certificates, func(c *CertificateCount) []byte { return c.Fingerprint[:] })
		}))
		appendArrays(b, project(rows, func(r *ResultRow) []uint32 {
			return project(r.Certificates, func(c *CertificateCount) uint32 { return c.Added })
		}))
		appendArrays(b, project(rows, func(r *ResultRow) []uint32 {
			return project(r.Certificates, func(c *CertificateCount) uint32 { return c.Duplicates })
		}))
		b.append(project(rows, func(r *ResultRow) int64 { return r.LogOffset }))
	})
}

// InsertExceptions stores the pairs of rows that were not added. Nothing of rows is retained after the return.
func (db *DB) InsertExceptions(ctx context.Context, rows []ResultRow) error {
	for i := range rows {
		if err := rows[i].check(); err != nil {
			return err
		}
	}
	if len(rows) == 0 {
		return nil
	}
	const query = "INSERT INTO exceptions (upload, batch, shard, part, site, accepted_at, duplicate_hashes, duplicate_indexes, duplicate_upper," +
		" bad_hashes, bad_indexes, bad_upper, error_indexes, error_texts, error_reasons," +
		" failed_hashes, failed_indexes, failed_upper, failed_reason)"
	return db.insert(ctx, "insert exceptions", query, len(rows), func(b *block, from, to int) {
		rows := rows[from:to]
		b.appendKeys(rows)
		b.appendRepeating(project(rows, func(r *ResultRow) string { return r.Site }))
		b.append(project(rows, func(r *ResultRow) int64 { return r.AcceptedAt }))
		b.appendEntries(project(rows, func(r *ResultRow) *Entries { return &r.Duplicates }))
		b.appendEntries(project(rows, func(r *ResultRow) *Entries { return &r.BadSignatures }))
		appendArrays(b, project(rows, func(r *ResultRow) []uint16 {
			return project(r.Errors, func(f *Failure) uint16 { return f.Index })
		}))
		appendArrays(b, project(rows, func(r *ResultRow) []string {
			return project(r.Errors, func(f *Failure) string { return f.Text })
		}))
		appendArrays(b, project(rows, func(r *ResultRow) []string {
			return project(r.Errors, func(f *Failure) string { return f.Reason })
		}))
		b.appendEntries(project(rows, func(r *ResultRow) *Entries { return &r.Failed }))
		b.append(project(rows, func(r *ResultRow) string { return r.FailedReason }))
	})
}

func (b *block) appendKeys(rows []ResultRow) {
	b.append(project(rows, func(r *ResultRow) uuid.UUID { return r.Upload }))
	b.append(project(rows, func(r *ResultRow) uint32 { return r.Batch }))
	b.append(project(rows, func(r *ResultRow) int32 { return r.Shard }))
	b.append(project(rows, func(r *ResultRow) uint32 { return r.Part }))
}

func (b *block) appendEntries(rows []*Entries) {
	appendArrays(b, project(rows, func(e **Entries) [][]byte { return split((*e).Hashes) }))
	appendArrays(b, project(rows, func(e **Entries) []uint16 { return (*e).Indexes }))
	b.append(project(rows, func(e **Entries) string { return string((*e).Upper) }))
}

func (r *ResultRow) check() error {
	for _, e := range []struct {
		name string
		*Entries
	}{{"duplicates", &r.Duplicates}, {"bad signatures", &r.BadSignatures}, {"failed", &r.Failed}} {
		if len(e.Hashes) != HashSize*e.Len() {
			return fmt.Errorf("clickhouse: insert exceptions: %s of batch %d of %s has %d indexes and %d bytes of hashes",
				e.name, r.Batch, r.Upload, e.Len(), len(e.Hashes))
		}
	}
	return nil
}

// BatchProgress is what is known of one batch.
type BatchProgress struct {
	Batch uint32 // from 1
	Done  bool   // every pair has its final outcome (record.BatchState)

	Added, Duplicates, BadSignatures, Errors uint64
}

// ProgressOf returns the batches that have any row, in their order, of each upload that was accepted within
// Config.Retention and has any. Once a batch is done its numbers don't change. It is a read of callers: bound the
// number of uploads, a batch takes 48 bytes and an upload may have a thousand.
func (db *DB) ProgressOf(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID][]BatchProgress, error) {
	found := make(map[uuid.UUID][]BatchProgress, len(ids))
	for _, some := range byPlace(db.layout(), ids, idBytes, tables["outcomes"]) {
		if err := db.progressOf(ctx, some, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (db *DB) progressOf(ctx context.Context, some share[uuid.UUID], found map[uuid.UUID][]BatchProgress) error {
	ctx, where, err := whereID(ctx, "upload", some)
	if err != nil {
		return fmt.Errorf("clickhouse: read the progress of uploads: %w", err)
	}
	const columns = "upload, batch, shard, part, claims, added, duplicates, bad_signatures, errors"
	old := ""
	if !db.moved.Load() {
		old = " UNION ALL SELECT " + columns + " FROM batch_results WHERE " + where
	}
	query := `SELECT upload, batch, countIf(shard = -1) > 0, sumIf(c, shard = -1), sumIf(a + d, shard >= 0),
	sum(a), sum(d), sum(b), sum(e) FROM (
	SELECT upload, batch, shard, part,
		any(claims) c, any(added) a, any(duplicates) d, any(bad_signatures) b, any(errors) e
	FROM (
		SELECT ` + columns + ` FROM outcomes WHERE ` + where + ` AND shard >= -1 AND ` + db.recent() + old + `
	) GROUP BY upload, batch, shard, part
) GROUP BY upload, batch ORDER BY upload, batch`
	return db.readAll(ctx, "read the progress of uploads", query, func(rows driver.Rows) error {
		var id uuid.UUID
		var p BatchProgress
		var decided uint8
		var state record.BatchState
		if err := rows.Scan(&id, &p.Batch, &decided, &state.Claims, &state.Resolved,
			&p.Added, &p.Duplicates, &p.BadSignatures, &p.Errors); err != nil {
			return err
		}
		state.Decided = decided != 0
		p.Done = state.Done()
		found[id] = append(found[id], p)
		return nil
	})
}

// recent is the condition for rows of uploads whose results are given out. It spares whoever asks the parts of all
// other months.
func (db *DB) recent() string { return "accepted_at > " + moment(db.oldest()) }

// oldest is the acceptance of uploads whose results aren't given out any more, in Unix milliseconds.
func (db *DB) oldest() int64 { return db.cfg.Clock().Add(-db.cfg.Retention).UnixMilli() }

// moment writes Unix milliseconds as a constant of a column's type.
func moment(ms int64) string { return fmt.Sprintf("fromUnixTimestamp64Milli(toInt64(%d), 'UTC')", ms) }
