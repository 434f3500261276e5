package store

// Who signed what: rows of signed_hashes, in and out.
//
// One lookup costs the same 5 ms whether it names one hash or a thousand, so hashes are looked up in bulk. They travel
// as a table of 32-byte rows beside the query: no limit on query text touches that table, and ClickHouse makes the set
// from it by which it prunes granules of the primary key.

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
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

func (r *HashRows) check() error {
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
	const query = "INSERT INTO signed_hashes" +
		" (hash, upload, position, site, signed_at, algorithm, signature, certificate, upper)"
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
		b.append(project(at, func(i *uint32) int8 { return int8(caseOf(rows.Upper[*i])) }))
	})
}

// order is the order of the rows by their hash, the table's key. Sorting here moves indexes; left to ClickHouse it
// moves whole rows.
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

// Owner is who a stored hash belongs to.
type Owner struct {
	Upload   uuid.UUID
	Position uint32
}

// lookupHashes bounds one query: 100,000 hashes are 3 MB on the way and in the set.
const lookupHashes = 100_000

// Owners puts the owner of each stored hash among hashes (32 bytes each) into into; hashes that aren't stored are
// left out. It sees every insert that was confirmed before the call. On an error into may hold some of the answer.
func (db *DB) Owners(ctx context.Context, hashes []byte, into map[[32]byte]Owner) error {
	if len(hashes)%HashSize != 0 {
		return fmt.Errorf("clickhouse: look up owners: %d bytes are no whole number of hashes", len(hashes))
	}
	for len(hashes) > 0 {
		n := min(len(hashes), lookupHashes*HashSize)
		if err := db.owners(ctx, hashes[:n], into); err != nil {
			return err
		}
		hashes = hashes[n:]
	}
	return nil
}

func (db *DB) owners(ctx context.Context, hashes []byte, into map[[32]byte]Owner) error {
	ctx, err := withWanted(ctx, "FixedString(32)", split(hashes))
	if err != nil {
		return fmt.Errorf("clickhouse: look up owners: %w", err)
	}
	const query = "SELECT hash, upload, position FROM signed_hashes WHERE hash IN (SELECT key FROM wanted)"
	var hash []byte
	var owner Owner
	return db.selectAll(ctx, "look up owners", query, func(rows driver.Rows) error {
		if err := rows.Scan(&hash, &owner.Upload, &owner.Position); err != nil {
			return err
		}
		into[[32]byte(hash)] = owner
		return nil
	})
}

// withWanted returns a context whose queries see keys as column key of a table named wanted. keys is a slice as the
// driver appends it to a column of that type.
func withWanted(ctx context.Context, columnType column.Type, keys any) (context.Context, error) {
	wanted, err := ext.NewTable("wanted", ext.Column("key", columnType))
	if err != nil {
		return nil, err
	}
	if _, err := wanted.Block().Columns[0].Append(keys); err != nil {
		return nil, err
	}
	return clickhouse.Context(ctx, clickhouse.WithExternalTable(wanted)), nil
}

// LetterCase is the case of the hexadecimal text that was signed.
type LetterCase int8

// The values of column upper.
const (
	UnknownCase LetterCase = -1 // the row is from before migration 6
	LowerCase   LetterCase = 0
	UpperCase   LetterCase = 1
)

func caseOf(upper bool) LetterCase {
	if upper {
		return UpperCase
	}
	return LowerCase
}

// SignedHash is a row of signed_hashes.
type SignedHash struct {
	Upload      uuid.UUID
	Position    uint32 // index in the upload, from 0
	Site        string
	SignedAt    int64 // Unix milliseconds
	Algorithm   string
	Signature   []byte
	Certificate [32]byte // fingerprint of the leaf
	Case        LetterCase
}

// Hashes returns who signed each of the hashes. Hashes that nobody signed are left out. It is a read of callers: bound
// the number of hashes, 10,000 come to some 5 MB.
func (db *DB) Hashes(ctx context.Context, hashes [][32]byte) (map[[32]byte]SignedHash, error) {
	where := "hash IN (SELECT key FROM wanted)"
	if len(hashes) == 1 { // nearly always: without a table it is faster
		where = "hash = " + literal(hashes[0][:])
	} else {
		var err error
		if ctx, err = withWanted(ctx, "FixedString(32)", views(hashes)); err != nil {
			return nil, fmt.Errorf("clickhouse: look up hashes: %w", err)
		}
	}
	query := "SELECT hash, upload, position, site, signed_at, algorithm, signature, certificate, upper" +
		" FROM signed_hashes WHERE " + where
	found := make(map[[32]byte]SignedHash, len(hashes))
	var hash []byte
	err := db.readAll(ctx, "look up hashes", query, func(rows driver.Rows) error {
		var s SignedHash
		var letters int8
		if err := rows.Scan(&hash, &s.Upload, &s.Position, &s.Site, &s.SignedAt,
			&s.Algorithm, &s.Signature, &s.Certificate, &letters); err != nil {
			return err
		}
		s.Case = LetterCase(letters)
		// A replay of a row from before migration 6 knows the case, and is the same row otherwise.
		if was, there := found[[32]byte(hash)]; !there || was.Case == UnknownCase {
			found[[32]byte(hash)] = s
		}
		return nil
	})
	return found, err
}

// scanChunk is how many hashes ScanHashes hands over at a time.
const scanChunk = 8192

// ScanHashes calls fn with every stored hash of a shard, in no order, some twice while replays are unmerged. The slice
// is valid during the call. An error of fn ends the scan and is returned. Memory is bounded by the few blocks on the
// way.
func (db *DB) ScanHashes(ctx context.Context, shard, shards int, fn func(hashes []byte) error) error {
	where, err := shardRange(shard, shards)
	if err != nil {
		return err
	}
	// More threads read ahead than one client takes; small blocks keep what is on the way small.
	query := "SELECT hash FROM signed_hashes" + where + " SETTINGS max_threads = 2, max_block_size = 65409"
	buffer := make([]byte, 0, scanChunk*HashSize)
	var hash []byte
	err = db.selectAll(ctx, fmt.Sprintf("scan shard %d of %d", shard, shards), query, func(rows driver.Rows) error {
		if err := rows.Scan(&hash); err != nil {
			return err
		}
		if buffer = append(buffer, hash...); len(buffer) < cap(buffer) {
			return nil
		}
		full := buffer
		buffer = buffer[:0]
		return fn(full)
	})
	if err != nil || len(buffer) == 0 {
		return err
	}
	return fn(buffer)
}

// CountHashes returns the number of rows of a shard: its stored hashes, replays counted until they are merged. It is
// what a filter has to be sized for.
func (db *DB) CountHashes(ctx context.Context, shard, shards int) (n uint64, err error) {
	where, err := shardRange(shard, shards)
	if err != nil {
		return 0, err
	}
	query := "SELECT count() FROM signed_hashes" + where
	err = db.selectAll(ctx, fmt.Sprintf("count shard %d of %d", shard, shards), query, func(rows driver.Rows) error {
		return rows.Scan(&n)
	})
	return n, err
}
