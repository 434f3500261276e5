package store

// What became of batches: rows of batch_results, in and out. Each query counts a key once, however many copies of its
// row are unmerged (I5).

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"countersign/pipeline/record"
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

	// Failed are further errors, which have one reason. None of their indexes is one of Errors.
	Failed       Entries
	FailedReason string
}

// ErrorCount is how many pairs could not be judged.
func (r *ResultRow) ErrorCount() int { return len(r.Errors) + r.Failed.Len() }

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
	const query = "INSERT INTO batch_results (upload, batch, shard, part, accepted_at, claims," +
		" added, duplicates, bad_signatures, errors," +
		" added_hashes, added_indexes, added_upper, duplicate_hashes, duplicate_indexes, duplicate_upper," +
		" bad_hashes, bad_indexes, bad_upper, error_indexes, error_texts, error_reasons," +
		" failed_hashes, failed_indexes, failed_upper, failed_reason)"
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
		b.append(project(rows, func(r *ResultRow) uint32 { return uint32(r.ErrorCount()) }))
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
		b.appendEntries(project(rows, func(r *ResultRow) *Entries { return &r.Failed }))
		b.append(project(rows, func(r *ResultRow) string { return r.FailedReason }))
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
	}{{"added", &r.Added}, {"duplicates", &r.Duplicates}, {"bad signatures", &r.BadSignatures}, {"failed", &r.Failed}} {
		if len(e.Hashes) != HashSize*e.Len() {
			return fmt.Errorf("clickhouse: insert batch results: %s of batch %d of %s has %d indexes and %d bytes of hashes",
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

// ProgressOf returns the batches that have any row, in their order, of each upload that has any. Once a batch is done
// its numbers don't change. It is a read of callers: bound the number of uploads, a batch takes 48 bytes and an upload
// may have a thousand.
func (db *DB) ProgressOf(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID][]BatchProgress, error) {
	ctx, where, err := whereID(ctx, "upload", ids)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: read the progress of uploads: %w", err)
	}
	query := `SELECT upload, batch, countIf(shard = -1) > 0, sumIf(c, shard = -1), sumIf(a + d, shard >= 0),
	sum(a), sum(d), sum(b), sum(e) FROM (
	SELECT upload, batch, shard, part,
		any(claims) c, any(added) a, any(duplicates) d, any(bad_signatures) b, any(errors) e
	FROM batch_results WHERE ` + where + ` GROUP BY upload, batch, shard, part
) GROUP BY upload, batch ORDER BY upload, batch`
	found := make(map[uuid.UUID][]BatchProgress, len(ids))
	err = db.readAll(ctx, "read the progress of uploads", query, func(rows driver.Rows) error {
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
	return found, err
}

// BatchResult is what became of each pair of a batch, in upload order. Hashes are texts as sent.
type BatchResult struct {
	Done bool // as in BatchProgress

	Added, BadSignatures, Duplicates []string
	Errors                           []Failure
}

// Batch returns the result of a batch as far as it is known, and whether anything is known of it. Nothing is known of
// the batches of an upload that was accepted longer ago than Config.Retention.
func (db *DB) Batch(ctx context.Context, id uuid.UUID, batch uint32) (BatchResult, bool, error) {
	oldest := db.cfg.Clock().Add(-db.cfg.Retention).UnixMilli()
	query := fmt.Sprintf("SELECT shard, part, claims, added_hashes, added_indexes, added_upper,"+
		" duplicate_hashes, duplicate_indexes, duplicate_upper, bad_hashes, bad_indexes, bad_upper,"+
		" error_indexes, error_texts, error_reasons, failed_hashes, failed_indexes, failed_upper, failed_reason FROM batch_results"+
		" WHERE upload = '%s' AND batch = %d AND accepted_at > fromUnixTimestamp64Milli(toInt64(%d), 'UTC')"+
		" LIMIT 1 BY shard, part", id, batch, oldest)
	var found bool
	var c collector
	err := db.readAll(ctx, fmt.Sprintf("read batch %d of upload %s", batch, id), query, func(rows driver.Rows) error {
		found = true
		return c.add(rows)
	})
	if err != nil || !found {
		return BatchResult{}, false, err
	}
	return c.result(), true, nil
}

// collector puts the rows of one batch together.
type collector struct {
	state           record.BatchState
	added, dup, bad []entry
	failures        []Failure
}

type entry struct {
	index uint16
	text  string
}

func (c *collector) add(rows driver.Rows) error {
	var shard int32
	var part, claims uint32
	var added, dup, bad, failed entries
	var indexes []uint16
	var texts, reasons []string
	var reason string
	if err := rows.Scan(&shard, &part, &claims, &added.hashes, &added.indexes, &added.upper,
		&dup.hashes, &dup.indexes, &dup.upper, &bad.hashes, &bad.indexes, &bad.upper, &indexes, &texts, &reasons,
		&failed.hashes, &failed.indexes, &failed.upper, &reason); err != nil {
		return err
	}
	if shard == record.OutcomeShard {
		c.state.Decided, c.state.Claims = true, uint64(claims)
	} else {
		c.state.Resolved += uint64(len(added.indexes) + len(dup.indexes))
	}
	c.added = added.appendTo(c.added)
	c.dup = dup.appendTo(c.dup)
	c.bad = bad.appendTo(c.bad)
	for i, index := range indexes {
		c.failures = append(c.failures, Failure{Index: index, Text: texts[i], Reason: reasons[i]})
	}
	for _, e := range failed.appendTo(nil) {
		c.failures = append(c.failures, Failure{Index: e.index, Text: e.text, Reason: reason})
	}
	return nil
}

func (c *collector) result() BatchResult {
	slices.SortStableFunc(c.failures, func(a, b Failure) int { return cmp.Compare(a.Index, b.Index) })
	return BatchResult{
		Done:  c.state.Done(),
		Added: inOrder(c.added), BadSignatures: inOrder(c.bad), Duplicates: inOrder(c.dup),
		Errors: c.failures,
	}
}

// entries are one row's Entries as the driver reads them.
type entries struct {
	hashes  []string
	indexes []uint16
	upper   []byte
}

func (e *entries) appendTo(all []entry) []entry {
	for i, index := range e.indexes {
		all = append(all, entry{index: index, text: text([]byte(e.hashes[i]), e.upper, i)})
	}
	return all
}

func inOrder(all []entry) []string {
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.index, b.index) })
	return project(all, func(e *entry) string { return e.text })
}

// text returns a hash as it was sent.
func text(hash, upper []byte, i int) string {
	return record.HexText(hash, record.Bit(upper, i))
}
