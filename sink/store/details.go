package store

// What became of each pair of a batch: the added ones are in signatures, where they are a range of the key, and the
// others in exceptions. The counts of outcomes are read first. They are written last, so what they count is found.

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"countersign/pipeline/record"
)

// BatchResult is what became of each pair of a batch, in upload order. Hashes are texts as sent.
type BatchResult struct {
	Done bool // as in BatchProgress

	Added, BadSignatures, Duplicates []string
	Errors                           []Failure
}

// Batch returns the result of a batch as far as it is known, and whether anything is known of it. Nothing is known of
// the batches of an upload that was accepted longer ago than Config.Retention.
func (db *DB) Batch(ctx context.Context, id uuid.UUID, batch uint32) (BatchResult, bool, error) {
	c := collector{rows: make(map[shardPart]counted), arrivals: make(map[arrival]struct{})}
	of := fmt.Sprintf("upload = '%s' AND batch = %d AND %s", id, batch, db.recent())
	for _, read := range []func() error{
		func() error { return db.readCounts(ctx, of, &c) },
		func() error { return db.readExceptions(ctx, of, &c) },
		func() error { return db.readAdded(ctx, id, batch, &c) },
	} {
		if err := read(); err != nil {
			return BatchResult{}, false, fmt.Errorf("read batch %d of upload %s: %w", batch, id, err)
		}
	}
	if len(c.rows) == 0 {
		return BatchResult{}, false, nil
	}
	return c.result(), true, nil
}

// collector puts the rows of one batch together.
type collector struct {
	rows            map[shardPart]counted
	arrivals        map[arrival]struct{} // where the batch's signatures are
	added, dup, bad []entry
	failures        []Failure
}

// shardPart is the key of a batch's row.
type shardPart struct {
	shard int32
	part  uint32
}

// counted is what a row counts. Exceptions are pairs that were not added.
type counted struct{ claims, added, duplicates, exceptions uint32 }

// arrival is the beginning of a key of signatures.
type arrival struct {
	site     string
	signedAt int64
}

type entry struct {
	index uint16
	text  string
}

func (db *DB) readCounts(ctx context.Context, of string, c *collector) error {
	query := "SELECT shard, part, site, accepted_at, claims, added, duplicates, duplicates + bad_signatures + errors FROM outcomes" +
		" WHERE shard >= -1 AND " + of
	return db.readAll(ctx, "read outcomes", query, func(rows driver.Rows) error {
		var key shardPart
		var n counted
		var exceptions uint64
		var from arrival
		if err := rows.Scan(&key.shard, &key.part, &from.site, &from.signedAt, &n.claims, &n.added, &n.duplicates, &exceptions); err != nil {
			return err
		}
		n.exceptions = uint32(exceptions)
		c.rows[key] = n
		if n.added > 0 {
			c.arrivals[from] = struct{}{}
		}
		return nil
	})
}

// exceptionColumns are those that exceptions have in both versions.
const exceptionColumns = "duplicate_hashes, duplicate_indexes, duplicate_upper, bad_hashes, bad_indexes, bad_upper," +
	" error_indexes, error_texts, error_reasons, failed_hashes, failed_indexes, failed_upper, failed_reason"

// readExceptions reads the pairs that were not added. Where fewer are found than are counted, or the batch isn't done,
// version 1 may have stored some, with the added ones beside them.
func (db *DB) readExceptions(ctx context.Context, of string, c *collector) error {
	done, want := c.state().Done(), 0
	for _, n := range c.rows {
		want += int(n.exceptions)
	}
	if done && want == 0 {
		return nil
	}
	query := "SELECT shard, part, 0 AS version, toUInt32(0) AS claims, [] :: Array(FixedString(32)) AS added_hashes," +
		" [] :: Array(UInt16) AS added_indexes, '' AS added_upper, " + exceptionColumns + " FROM exceptions WHERE " + of + " LIMIT 1 BY shard, part"
	err := db.readAll(ctx, "read exceptions", query, c.addException)
	if err != nil || done && len(c.dup)+len(c.bad)+len(c.failures) >= want {
		return err
	}
	query = "SELECT shard, part, 1 AS version, claims, added_hashes, added_indexes, added_upper, " + exceptionColumns +
		" FROM batch_results WHERE " + of + " LIMIT 1 BY shard, part"
	return db.readAll(ctx, "read batch results", query, c.addException)
}

func (c *collector) addException(rows driver.Rows) error {
	var key shardPart
	var old uint8
	var claims uint32
	var added, dup, bad, failed entries
	var indexes []uint16
	var texts, reasons []string
	var reason string
	if err := rows.Scan(&key.shard, &key.part, &old, &claims, &added.hashes, &added.indexes, &added.upper,
		&dup.hashes, &dup.indexes, &dup.upper, &bad.hashes, &bad.indexes, &bad.upper, &indexes, &texts, &reasons,
		&failed.hashes, &failed.indexes, &failed.upper, &reason); err != nil {
		return err
	}
	if old != 0 {
		c.rows[key] = counted{claims: claims, added: uint32(len(added.indexes)), duplicates: uint32(len(dup.indexes))}
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

// readAdded reads the batch's signatures.
func (db *DB) readAdded(ctx context.Context, id uuid.UUID, batch uint32, c *collector) error {
	if len(c.arrivals) == 0 {
		return nil
	}
	var from []string
	for a := range c.arrivals {
		from = append(from, "("+quote(a.site)+", "+moment(a.signedAt)+")")
	}
	first := record.Position(batch, 0)
	of := fmt.Sprintf("upload = '%s' AND position >= %d AND position < %d", id, first, first+record.BatchSize)
	query := "SELECT position, hash, upper FROM signatures WHERE (site, signed_at) IN (" + strings.Join(from, ", ") + ") AND " + of
	add := func(rows driver.Rows) error {
		var position uint32
		var hash []byte
		var letters int8
		err := rows.Scan(&position, &hash, &letters)
		if err == nil {
			c.added = append(c.added, entry{uint16(position - first), record.HexText(hash, LetterCase(letters) == UpperCase)})
		}
		return err
	}
	if err := db.readAll(ctx, "read signatures", query, add); err != nil {
		return err
	}
	want := 0
	for _, n := range c.rows {
		want += int(n.added)
	}
	if c.added = inOrder(c.added); len(c.added) >= want {
		return nil
	}
	// Version 1 stored these hashes and ended before it stored their result. Its table has no such key, so this reads
	// all of it; it is empty but while it is migrated.
	if err := db.readAll(ctx, "read signed hashes", "SELECT position, hash, upper FROM signed_hashes WHERE "+of, add); err != nil {
		return err
	}
	if c.added = inOrder(c.added); len(c.added) < want {
		return fmt.Errorf("clickhouse: %d pairs are counted as added, and %d of them are found", want, len(c.added))
	}
	return nil
}

// state is what the rows come to.
func (c *collector) state() (state record.BatchState) {
	for key, n := range c.rows {
		if key.shard == record.OutcomeShard {
			state.Decided, state.Claims = true, uint64(n.claims)
		} else {
			state.Resolved += uint64(n.added) + uint64(n.duplicates)
		}
	}
	return state
}

func (c *collector) result() BatchResult {
	slices.SortStableFunc(c.failures, func(a, b Failure) int { return cmp.Compare(a.Index, b.Index) })
	return BatchResult{
		Done:  c.state().Done(),
		Added: textsOf(inOrder(c.added)), BadSignatures: textsOf(inOrder(c.bad)), Duplicates: textsOf(inOrder(c.dup)),
		Errors: slices.CompactFunc(c.failures, func(a, b Failure) bool { return a.Index == b.Index }),
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

// inOrder returns entries in upload order, each once: rows may be repeated, and stand in the tables of both versions.
func inOrder(all []entry) []entry {
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.index, b.index) })
	return slices.CompactFunc(all, func(a, b entry) bool { return a.index == b.index })
}

func textsOf(all []entry) []string { return project(all, func(e *entry) string { return e.text }) }

// text returns a hash as it was sent.
func text(hash, upper []byte, i int) string {
	return record.HexText(hash, record.Bit(upper, i))
}
