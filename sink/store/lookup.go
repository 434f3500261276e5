// Lookups by hash. One question costs the same 5 ms whether it names one hash or a thousand, so hashes travel in bulk: as a
// table of 32-byte rows beside the query, which no limit on query text touches, and from which ClickHouse makes the
// set that it prunes granules of the primary key by.
package store

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"countersign/pipeline/record"
)

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
	wanted, err := ext.NewTable("wanted", ext.Column("hash", "FixedString(32)"))
	if err != nil {
		return fmt.Errorf("clickhouse: look up owners: %w", err)
	}
	if _, err := wanted.Block().Columns[0].Append(split(hashes)); err != nil {
		return fmt.Errorf("clickhouse: look up owners: %w", err)
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithExternalTable(wanted))
	const query = "SELECT hash, upload, position FROM signed_hashes WHERE hash IN (SELECT hash FROM wanted)"
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

// SignedHash is a row of signed_hashes.
type SignedHash struct {
	Upload      uuid.UUID
	Position    uint32 // index in the upload, from 0
	Site        string
	SignedAt    int64 // Unix milliseconds
	Algorithm   string
	Signature   []byte
	Certificate [32]byte // fingerprint of the leaf
}

// Hash returns who signed a hash, and whether anyone did.
func (db *DB) Hash(ctx context.Context, hash [32]byte) (signed SignedHash, found bool, err error) {
	query := "SELECT upload, position, site, signed_at, algorithm, signature, certificate FROM signed_hashes WHERE hash = " +
		literal(hash[:]) + " LIMIT 1"
	err = db.selectAll(ctx, "look up a hash", query, func(rows driver.Rows) error {
		found = true
		return rows.Scan(&signed.Upload, &signed.Position, &signed.Site, &signed.SignedAt, &signed.Algorithm, &signed.Signature, &signed.Certificate)
	})
	return signed, found, err
}

// scanChunk is how many hashes ScanHashes hands over at a time.
const scanChunk = 8192

// ScanHashes calls fn with every stored hash of a shard, in no order, some twice while replays are unmerged. The slice is valid
// during the call. An error of fn ends the scan and is returned. Memory is bounded by the few blocks on the way.
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

// CountHashes returns the number of rows of a shard: its stored hashes, replays counted until they are merged. It is what a
// filter has to be sized for.
func (db *DB) CountHashes(ctx context.Context, shard, shards int) (n uint64, err error) {
	where, err := shardRange(shard, shards)
	if err != nil {
		return 0, err
	}
	err = db.selectAll(ctx, fmt.Sprintf("count shard %d of %d", shard, shards), "SELECT count() FROM signed_hashes"+where, func(rows driver.Rows) error {
		return rows.Scan(&n)
	})
	return n, err
}

// shardRange is the condition for the hashes of a shard: a range of the primary key.
func shardRange(shard, shards int) (string, error) {
	if shard < 0 || shard >= shards {
		return "", fmt.Errorf("clickhouse: there is no shard %d of %d", shard, shards)
	}
	where := " WHERE hash >= " + literal(firstHash(shard, shards))
	if shard+1 < shards {
		where += " AND hash < " + literal(firstHash(shard+1, shards))
	}
	return where, nil
}

// firstHash returns the lowest hash of a shard: record.Shard is floor(top * shards / 2^32) of the leading 32 bits, so
// the first of shard i has top = ceil(i * 2^32 / shards).
func firstHash(shard, shards int) []byte {
	top := (uint64(shard)<<32 + uint64(shards) - 1) / uint64(shards)
	hash := make([]byte, HashSize)
	hash[0], hash[1], hash[2], hash[3] = byte(top>>24), byte(top>>16), byte(top>>8), byte(top)
	return hash
}

// literal writes a hash as a constant of its column's type.
func literal(hash []byte) string {
	return "toFixedString(unhex('" + hex.EncodeToString(hash) + "'), 32)"
}

// text returns a hash as it was sent.
func text(hash, upper []byte, i int) string {
	return record.HexText(hash, record.Bit(upper, i))
}
