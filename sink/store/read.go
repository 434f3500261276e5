// What polls ask: an upload, the progress of its batches, the details of one. Each query counts a key once, however
// many copies of its row are unmerged (I5).
package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
)

// Upload returns an accepted upload, and whether it is known. Uploads are kept for good: whether one is too old to be asked
// for is the caller's decision, by AcceptedAt.
func (db *DB) Upload(ctx context.Context, id uuid.UUID) (u Upload, found bool, err error) {
	query := "SELECT id, site, count, accepted_at FROM uploads WHERE id = '" + id.String() + "' ORDER BY accepted_at LIMIT 1"
	err = db.selectAll(ctx, "look up an upload", query, func(rows driver.Rows) error {
		found = true
		return rows.Scan(&u.ID, &u.Site, &u.Count, &u.AcceptedAt)
	})
	return u, found, err
}

// BatchProgress is what is known of one batch.
type BatchProgress struct {
	Batch uint32 // from 1
	// Done: the outcome of verifying is there, and every claim it sent was added or found to be a duplicate.
	Done                                     bool
	Added, Duplicates, BadSignatures, Errors uint64
}

// Progress returns the batches of an upload that have any row, in their order. Once a batch is done its numbers don't change.
func (db *DB) Progress(ctx context.Context, id uuid.UUID) (batches []BatchProgress, err error) {
	query := `SELECT batch, countIf(shard = -1) > 0 AND sumIf(c, shard = -1) = sumIf(a + d, shard >= 0), sum(a), sum(d), sum(b), sum(e) FROM (
	SELECT batch, shard, part, any(claims) c, any(added) a, any(duplicates) d, any(bad_signatures) b, any(errors) e
	FROM batch_results WHERE upload = '` + id.String() + `' GROUP BY batch, shard, part
) GROUP BY batch ORDER BY batch`
	err = db.selectAll(ctx, "read the progress of upload "+id.String(), query, func(rows driver.Rows) error {
		var p BatchProgress
		var done uint8
		if err := rows.Scan(&p.Batch, &done, &p.Added, &p.Duplicates, &p.BadSignatures, &p.Errors); err != nil {
			return err
		}
		p.Done = done != 0
		batches = append(batches, p)
		return nil
	})
	return batches, err
}

// BatchResult is what became of each pair of a batch, in upload order. Hashes are texts as sent.
type BatchResult struct {
	Done                             bool // as in BatchProgress
	Added, BadSignatures, Duplicates []string
	Errors                           []Failure
}

// Batch returns the result of a batch as far as it is known, and whether anything is; a batch of an upload that was accepted
// longer ago than the retention is unknown.
func (db *DB) Batch(ctx context.Context, id uuid.UUID, batch uint32) (BatchResult, bool, error) {
	oldest := db.now().Add(-db.retention).UnixMilli()
	query := fmt.Sprintf("SELECT shard, part, claims, added_hashes, added_indexes, added_upper, duplicate_hashes, duplicate_indexes, duplicate_upper,"+
		" bad_hashes, bad_indexes, bad_upper, error_indexes, error_texts, error_reasons FROM batch_results"+
		" WHERE upload = '%s' AND batch = %d AND accepted_at > fromUnixTimestamp64Milli(toInt64(%d), 'UTC') LIMIT 1 BY shard, part", id, batch, oldest)
	var found bool
	var c collector
	err := db.selectAll(ctx, fmt.Sprintf("read batch %d of upload %s", batch, id), query, func(rows driver.Rows) error {
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
	outcome         bool
	claims, owned   int // owned: claims that shards have decided
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
	var added, dup, bad entries
	var indexes []uint16
	var failed, reasons []string
	if err := rows.Scan(&shard, &part, &claims, &added.hashes, &added.indexes, &added.upper, &dup.hashes, &dup.indexes, &dup.upper,
		&bad.hashes, &bad.indexes, &bad.upper, &indexes, &failed, &reasons); err != nil {
		return err
	}
	if shard < 0 {
		c.outcome, c.claims = true, int(claims)
	} else {
		c.owned += len(added.indexes) + len(dup.indexes)
	}
	c.added = added.appendTo(c.added)
	c.dup = dup.appendTo(c.dup)
	c.bad = bad.appendTo(c.bad)
	for i, index := range indexes {
		c.failures = append(c.failures, Failure{Index: index, Text: failed[i], Reason: reasons[i]})
	}
	return nil
}

func (c *collector) result() BatchResult {
	slices.SortStableFunc(c.failures, func(a, b Failure) int { return cmp.Compare(a.Index, b.Index) })
	return BatchResult{
		Done:  c.outcome && c.claims == c.owned,
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
