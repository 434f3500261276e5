package store

// Rows of hashes on their way in: one set of columns, from which the tables signatures, owners and cosigners take what
// they have. Each table's rows are sent in the order of its key. Sorting here moves indexes; left to ClickHouse it
// moves whole rows.

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"countersign/pipeline/record"
)

// HashSize is the length of a hash or fingerprint in bytes.
const HashSize = record.HashSize

// HashRows are valid signatures, as columns of equal length.
type HashRows struct {
	Hash        []byte // 32 bytes a row
	Upload      []uuid.UUID
	Position    []uint32 // index in the upload, from 0
	Site        []string
	SignedAt    []int64 // Unix milliseconds
	Algorithm   []string
	Signature   [][]byte
	Certificate [][32]byte // fingerprint of the leaf
	Upper       []bool     // the hash was signed in upper case
}

// Len is the number of rows.
func (r *HashRows) Len() int { return len(r.Upload) }

// Slice returns rows from..to, which share r's memory.
func (r *HashRows) Slice(from, to int) *HashRows {
	return &HashRows{
		Hash: r.Hash[from*HashSize : to*HashSize], Upload: r.Upload[from:to], Position: r.Position[from:to],
		Site: r.Site[from:to], SignedAt: r.SignedAt[from:to],
		Algorithm: r.Algorithm[from:to], Signature: r.Signature[from:to], Certificate: r.Certificate[from:to],
		Upper: r.Upper[from:to],
	}
}

// Reset empties the columns, keeps their memory, and lets go of what they pointed to.
func (r *HashRows) Reset() {
	clear(r.Site)
	clear(r.Algorithm)
	clear(r.Signature)
	*r = HashRows{
		Hash: r.Hash[:0], Upload: r.Upload[:0], Position: r.Position[:0], Site: r.Site[:0], SignedAt: r.SignedAt[:0],
		Algorithm: r.Algorithm[:0], Signature: r.Signature[:0], Certificate: r.Certificate[:0], Upper: r.Upper[:0],
	}
}

func (r *HashRows) check(table string) error {
	n := r.Len()
	for _, c := range []struct {
		name string
		len  int
	}{
		{"Hash/32", len(r.Hash) / HashSize}, {"Position", len(r.Position)}, {"Site", len(r.Site)},
		{"SignedAt", len(r.SignedAt)}, {"Algorithm", len(r.Algorithm)}, {"Signature", len(r.Signature)}, {"Certificate", len(r.Certificate)},
		{"Upper", len(r.Upper)},
	} {
		if c.len != n {
			return fmt.Errorf("clickhouse: insert %s: %d rows, but column %s has %d", table, n, c.name, c.len)
		}
	}
	if len(r.Hash)%HashSize != 0 {
		return fmt.Errorf("clickhouse: insert %s: %d bytes are no whole number of hashes", table, len(r.Hash))
	}
	return nil
}

// InsertSignatures stores rows of signatures. Nothing of rows is retained after the return.
func (db *DB) InsertSignatures(ctx context.Context, rows *HashRows) error {
	return db.insertSigned(ctx, "signatures", rows, rows.byArrival)
}

// InsertCosigners stores rows of cosigners: signatures of sites that don't own the hash. Nothing of rows is retained
// after the return.
func (db *DB) InsertCosigners(ctx context.Context, rows *HashRows) error {
	return db.insertSigned(ctx, "cosigners", rows, rows.byHash)
}

// insertSigned fills one of the tables that have all columns.
func (db *DB) insertSigned(ctx context.Context, table string, rows *HashRows, sorted func() []uint32) error {
	if err := rows.check(table); err != nil || rows.Len() == 0 {
		return err
	}
	query := "INSERT INTO " + table + " (hash, upload, position, site, signed_at, algorithm, signature, certificate, upper)"
	order, hashes := sorted(), split(rows.Hash)
	return db.insert(ctx, "insert "+table, query, rows.Len(), func(b *block, from, to int) {
		at := order[from:to]
		b.append(pick(hashes, at))
		b.append(pick(rows.Upload, at))
		b.append(pick(rows.Position, at))
		b.appendRepeating(pick(rows.Site, at))
		b.append(pick(rows.SignedAt, at))
		b.appendRepeating(pick(rows.Algorithm, at))
		b.append(texts(pick(rows.Signature, at)))
		b.append(views(pick(rows.Certificate, at)))
		b.append(project(at, func(i *uint32) int8 { return int8(caseOf(rows.Upper[*i])) }))
	})
}

// InsertOwners stores rows of owners. The rows of signatures with the same key must be stored before. Nothing of rows
// is retained after the return.
func (db *DB) InsertOwners(ctx context.Context, rows *HashRows) error {
	if err := rows.check("owners"); err != nil || rows.Len() == 0 {
		return err
	}
	const query = "INSERT INTO owners (hash, upload, position, site, signed_at)"
	order, hashes := rows.byHash(), split(rows.Hash)
	return db.insert(ctx, "insert owners", query, rows.Len(), func(b *block, from, to int) {
		at := order[from:to]
		b.append(pick(hashes, at))
		b.append(pick(rows.Upload, at))
		b.append(pick(rows.Position, at))
		b.appendRepeating(pick(rows.Site, at))
		b.append(pick(rows.SignedAt, at))
	})
}

// byHash is the order of the rows by their hash.
func (r *HashRows) byHash() []uint32 {
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

// byArrival is the order of the rows by site, time, upload and position.
func (r *HashRows) byArrival() []uint32 {
	order := make([]uint32, r.Len())
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		if r.Upload[a] == r.Upload[b] && r.SignedAt[a] == r.SignedAt[b] { // nearly always: an upload has one site
			return cmp.Compare(r.Position[a], r.Position[b])
		}
		return cmp.Or(
			strings.Compare(r.Site[a], r.Site[b]), cmp.Compare(r.SignedAt[a], r.SignedAt[b]), compareUUIDs(r.Upload[a], r.Upload[b]))
	})
	return order
}

// compareUUIDs orders as ClickHouse does: by the second half first.
func compareUUIDs(a, b uuid.UUID) int {
	return cmp.Or(bytes.Compare(a[8:], b[8:]), bytes.Compare(a[:8], b[:8]))
}
