package store

import (
	"context"
	"fmt"

	"github.com/google/uuid"
)

// ResultRow is a row of batch_results. Its key is (Upload, Batch, Shard, Part).
type ResultRow struct {
	Upload     uuid.UUID
	Batch      uint32 // from 1
	Shard      int32  // -1: the outcome of verifying
	Part       uint32 // from 0
	AcceptedAt int64  // Unix milliseconds
	Claims     uint32 // of the outcome of verifying: valid pairs, sent to the shards

	Added, Duplicates, BadSignatures Entries
	Errors                           []Failure // ascending by Index
}

// Entries are hashes of one batch.
type Entries struct {
	Hashes  []byte   // 32 bytes each
	Indexes []uint16 // within the batch, ascending
	Upper   []byte   // bitmap: bit i%8 of byte i/8 is set when hash i was sent in upper case; nil: none was
}

// Len is the number of hashes.
func (e *Entries) Len() int { return len(e.Indexes) }

// Failure is a pair that could not be judged.
type Failure struct {
	Index  uint16 // within the batch
	Text   string // the hash as sent
	Reason string
}

// InsertResults stores rows of batch_results. Nothing of rows is retained after the return.
func (db *DB) InsertResults(ctx context.Context, rows []ResultRow) error {
	if len(rows) == 0 {
		return nil
	}
	for i := range rows {
		if err := rows[i].check(); err != nil {
			return err
		}
	}
	const query = "INSERT INTO batch_results (upload, batch, shard, part, accepted_at, claims, added, duplicates, bad_signatures, errors," +
		" added_hashes, added_indexes, added_upper, duplicate_hashes, duplicate_indexes, duplicate_upper," +
		" bad_hashes, bad_indexes, bad_upper, error_indexes, error_texts, error_reasons)"
	return db.insert(ctx, "insert batch results", query, len(rows), func(b *block, from, to int) {
		rows := rows[from:to]
		b.append(project(rows, func(r *ResultRow) uuid.UUID { return r.Upload }))
		b.append(project(rows, func(r *ResultRow) uint32 { return r.Batch }))
		b.append(project(rows, func(r *ResultRow) int32 { return r.Shard }))
		b.append(project(rows, func(r *ResultRow) uint32 { return r.Part }))
		b.append(project(rows, func(r *ResultRow) int64 { return r.AcceptedAt }))
		b.append(project(rows, func(r *ResultRow) uint32 { return r.Claims }))
		b.append(project(rows, func(r *ResultRow) uint32 { return uint32(r.Added.Len()) }))
		b.append(project(rows, func(r *ResultRow) uint32 { return uint32(r.Duplicates.Len()) }))
		b.append(project(rows, func(r *ResultRow) uint32 { return uint32(r.BadSignatures.Len()) }))
		b.append(project(rows, func(r *ResultRow) uint32 { return uint32(len(r.Errors)) }))
		b.appendEntries(project(rows, func(r *ResultRow) *Entries { return &r.Added }))
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
	})
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
	}{{"added", &r.Added}, {"duplicates", &r.Duplicates}, {"bad signatures", &r.BadSignatures}} {
		if len(e.Hashes) != HashSize*e.Len() {
			return fmt.Errorf("clickhouse: insert batch results: %s of batch %d of %s has %d indexes and %d bytes of hashes",
				e.name, r.Batch, r.Upload, e.Len(), len(e.Hashes))
		}
	}
	return nil
}
