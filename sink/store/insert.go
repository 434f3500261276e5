// Inserts are synchronous and columnar. Rows go out in blocks of some thousand, so that an insert of any size takes little
// memory and ClickHouse receives the first while the next is made; it joins them again (up to a million rows or 256 MiB), so
// an insert is one part and one wait for the disk. All inserts may be repeated: a row with a key that is there is
// the same row (I5).
//
// After an error nothing is known but that: none, some or all of the rows may be stored. The driver's batch is spent then,
// so each call builds its own.
package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/google/uuid"

	"countersign/pipeline/record"
)

// HashSize is the length of a hash or fingerprint in bytes.
const HashSize = record.HashSize

// HashRows are rows of signed_hashes, as columns of equal length.
type HashRows struct {
	Hash        []byte // 32 bytes a row
	Upload      []uuid.UUID
	Position    []uint32 // index in the upload, from 0
	Site        []string
	SignedAt    []int64 // Unix milliseconds
	Algorithm   []string
	Signature   [][]byte
	Certificate [][32]byte // fingerprint of the leaf
}

// Len is the number of rows.
func (r *HashRows) Len() int { return len(r.Upload) }

// Slice returns rows from..to, which share r's memory.
func (r *HashRows) Slice(from, to int) *HashRows {
	return &HashRows{
		Hash: r.Hash[from*HashSize : to*HashSize], Upload: r.Upload[from:to], Position: r.Position[from:to], Site: r.Site[from:to],
		SignedAt: r.SignedAt[from:to], Algorithm: r.Algorithm[from:to], Signature: r.Signature[from:to], Certificate: r.Certificate[from:to],
	}
}

func (r *HashRows) check() error {
	n := r.Len()
	for _, c := range []struct {
		name string
		len  int
	}{
		{"Hash/32", len(r.Hash) / HashSize}, {"Position", len(r.Position)}, {"Site", len(r.Site)}, {"SignedAt", len(r.SignedAt)},
		{"Algorithm", len(r.Algorithm)}, {"Signature", len(r.Signature)}, {"Certificate", len(r.Certificate)},
	} {
		if c.len != n {
			return fmt.Errorf("clickhouse: insert hashes: %d rows, but column %s has %d", n, c.name, c.len)
		}
	}
	if len(r.Hash)%HashSize != 0 {
		return fmt.Errorf("clickhouse: insert hashes: %d bytes are no whole number of hashes", len(r.Hash))
	}
	return nil
}

// InsertHashes stores rows of signed_hashes. Nothing of rows is retained after the return.
func (db *DB) InsertHashes(ctx context.Context, rows *HashRows) error {
	if err := rows.check(); err != nil {
		return err
	}
	if rows.Len() == 0 {
		return nil
	}
	const query = "INSERT INTO signed_hashes (hash, upload, position, site, signed_at, algorithm, signature, certificate)"
	order, hashes := rows.order(), split(rows.Hash)
	return db.insert(ctx, "insert hashes", query, rows.Len(), func(b *block, from, to int) {
		at := order[from:to]
		b.append(pick(hashes, at))
		b.append(pick(rows.Upload, at))
		b.append(pick(rows.Position, at))
		b.appendRepeating(pick(rows.Site, at))
		b.append(pick(rows.SignedAt, at))
		b.appendRepeating(pick(rows.Algorithm, at))
		b.append(texts(pick(rows.Signature, at)))
		b.append(views(pick(rows.Certificate, at)))
	})
}

// order is the order of the rows by their hash, the table's key. Sorting here moves indexes; left to ClickHouse it moves whole rows.
func (r *HashRows) order() []uint32 {
	type entry struct {
		start uint64 // of the hash: decides nearly always
		at    uint32
	}
	entries := make([]entry, r.Len())
	for i := range entries {
		entries[i] = entry{binary.BigEndian.Uint64(r.Hash[i*HashSize:]), uint32(i)}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if a.start != b.start {
			return cmp.Compare(a.start, b.start)
		}
		return bytes.Compare(r.Hash[a.at*HashSize:(a.at+1)*HashSize], r.Hash[b.at*HashSize:(b.at+1)*HashSize])
	})
	return project(entries, func(e *entry) uint32 { return e.at })
}

// Upload is a row of uploads.
type Upload struct {
	ID         uuid.UUID
	Site       string
	Count      uint64 // pairs
	AcceptedAt int64  // Unix milliseconds
}

// InsertUploads stores rows of uploads. Callers with many uploads a second should put them into few calls: each call makes a part.
func (db *DB) InsertUploads(ctx context.Context, uploads []Upload) error {
	if len(uploads) == 0 {
		return nil
	}
	return db.insert(ctx, "insert uploads", "INSERT INTO uploads (id, site, count, accepted_at)", len(uploads), func(b *block, from, to int) {
		uploads := uploads[from:to]
		b.append(project(uploads, func(u *Upload) uuid.UUID { return u.ID }))
		b.appendRepeating(project(uploads, func(u *Upload) string { return u.Site }))
		b.append(project(uploads, func(u *Upload) uint64 { return u.Count }))
		b.append(project(uploads, func(u *Upload) int64 { return u.AcceptedAt }))
	})
}

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

// blockRows is how many rows travel in one block: 2.7 MB of hashes with RSA-2048 signatures.
const blockRows = 8192

// insert sends n rows. fill appends rows from..to of every column of the query, in its order.
func (db *DB) insert(ctx context.Context, what, query string, n int, fill func(b *block, from, to int)) error {
	err := db.retryQuorum(ctx, func() error {
		batch, err := db.conn.PrepareBatch(ctx, query)
		if err != nil {
			return err
		}
		for from := 0; from < n; from += blockRows {
			if from > 0 {
				if err := errors.Join(ctx.Err(), batch.Flush()); err != nil {
					return errors.Join(err, batch.Abort())
				}
			}
			b := &block{columns: batch.Columns()}
			fill(b, from, min(n, from+blockRows))
			if err := b.complete(); err != nil {
				return errors.Join(err, batch.Abort())
			}
		}
		return batch.Send()
	})
	return db.wrap(ctx, err, what)
}

// retryQuorum repeats an insert that came while another one's quorum was open: with insert_quorum_parallel off ClickHouse
// refuses instead of waiting. Callers see ErrUnavailable when that lasts.
func (db *DB) retryQuorum(ctx context.Context, insert func() error) error {
	for wait := 10 * time.Millisecond; ; wait *= 2 {
		err := insert()
		if !hasCode(err, chproto.ErrUnsatisfiedQuorumForPreviousWrite) || wait > 2*time.Second {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// block appends whole columns in order and remembers the first error.
type block struct {
	columns []column.Interface
	next    int
	err     error
}

func (b *block) column() column.Interface {
	if b.err == nil && b.next == len(b.columns) {
		b.err = errors.New("more columns than the table was asked for")
	}
	if b.err != nil {
		return nil
	}
	b.next++
	return b.columns[b.next-1]
}

func (b *block) failed(c column.Interface, err error) {
	if err != nil {
		b.err = fmt.Errorf("column %s: %w", c.Name(), err)
	}
}

func (b *block) append(values any) {
	if c := b.column(); c != nil {
		_, err := c.Append(values)
		b.failed(c, err)
	}
}

// appendRepeating appends strings to a LowCardinality column. Boxing a value once spares an allocation a row.
func (b *block) appendRepeating(values []string) {
	c := b.column()
	if c == nil {
		return
	}
	boxes := make(map[string]any)
	var boxed any
	last := ""
	for i, v := range values {
		if i == 0 || v != last {
			var known bool
			if boxed, known = boxes[v]; !known {
				boxed = v
				boxes[v] = boxed
			}
			last = v
		}
		if err := c.AppendRow(boxed); err != nil {
			b.failed(c, err)
			return
		}
	}
}

// appendArrays appends one array a row.
func appendArrays[T any](b *block, rows [][]T) {
	c := b.column()
	if c == nil {
		return
	}
	for _, row := range rows {
		if err := c.AppendRow(row); err != nil {
			b.failed(c, err)
			return
		}
	}
}

func (b *block) complete() error {
	if b.err == nil && b.next != len(b.columns) {
		b.err = fmt.Errorf("%d columns of %d were filled", b.next, len(b.columns))
	}
	return b.err
}

// split cuts concatenated hashes; len(hashes) is a multiple of 32, which callers check because the driver cuts silently.
func split(hashes []byte) [][]byte {
	out := make([][]byte, len(hashes)/HashSize)
	for i := range out {
		out[i] = hashes[i*HashSize : (i+1)*HashSize : (i+1)*HashSize]
	}
	return out
}

// pick returns the values at some indexes.
func pick[T any](values []T, at []uint32) []T {
	out := make([]T, len(at))
	for i, j := range at {
		out[i] = values[j]
	}
	return out
}

func views(fingerprints [][32]byte) [][]byte {
	out := make([][]byte, len(fingerprints))
	for i := range out {
		out[i] = fingerprints[i][:]
	}
	return out
}

// texts looks at byte slices as strings without copying them: the driver appends strings without an allocation each, and
// keeps neither. The strings die with the insert.
func texts(values [][]byte) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = unsafe.String(unsafe.SliceData(v), len(v))
	}
	return out
}

func project[S, T any](rows []S, field func(*S) T) []T {
	out := make([]T, len(rows))
	for i := range rows {
		out[i] = field(&rows[i])
	}
	return out
}
