package store

// Who owns a hash, as the stages ask: by many hashes at once, or for all of a shard.
//
// One lookup costs the same 5 ms whether it names one hash or a thousand, so hashes are looked up in bulk. They travel
// as a table of 32-byte rows beside the query: no limit on query text touches that table, and ClickHouse makes the set
// from it by which it prunes granules of the primary key.

import (
	"context"
	"fmt"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
)

// Owner is who a stored hash belongs to.
type Owner struct {
	Upload   uuid.UUID
	Position uint32
	Site     string
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
	for _, some := range byPlace(db.layout(), split(hashes), func(h *[]byte) []byte { return *h }, "hash") {
		ctx, err := withWanted(ctx, "FixedString(32)", some.keys)
		if err != nil {
			return fmt.Errorf("clickhouse: look up owners: %w", err)
		}
		query := db.inBoth("SELECT hash, upload, position, site FROM ", " WHERE hash IN (SELECT key FROM wanted)"+some.only)
		var hash []byte
		var owner Owner
		err = db.selectAll(ctx, "look up owners", query, func(rows driver.Rows) error {
			if err := rows.Scan(&hash, &owner.Upload, &owner.Position, &owner.Site); err != nil {
				return err
			}
			into[[32]byte(hash)] = owner
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// inBoth asks the table of owners and, until its rows have moved, that of version 1, which has the same columns. A hash
// may be in both.
func (db *DB) inBoth(before, after string) string {
	query := before + "owners" + after
	if !db.moved.Load() {
		query += " UNION ALL " + before + "signed_hashes" + after
	}
	return query
}

// onceOfBoth is inBoth for those who read much: what has moved is left out of the old table. where begins with WHERE.
func (db *DB) onceOfBoth(before, where string) string {
	if db.moved.Load() {
		return before + "owners" + where
	}
	return before + "owners" + where + " UNION ALL " + before + "signed_hashes" + where +
		" AND hash >= (SELECT max(below) FROM moves) AND (SELECT max(done) FROM moves) = 0"
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

// ScanHashes calls fn with every stored hash of a shard, in no order, some twice while replays are unmerged. The slice
// is valid during the call. An error of fn ends the scan and is returned. Memory is bounded by the few blocks on the
// way, of 2 MB each.
func (db *DB) ScanHashes(ctx context.Context, shard, shards int, fn func(hashes []byte) error) error {
	where, err := shardRange(shard, shards)
	if err != nil {
		return err
	}
	// More threads would read ahead of what one client takes.
	query := "SELECT hash FROM (" + db.onceOfBoth("SELECT hash FROM ", where) + ") SETTINGS max_threads = 2, max_block_size = 65409"
	column := &chproto.ColFixedStr{Size: HashSize}
	return db.readColumn(ctx, fmt.Sprintf("scan shard %d of %d", shard, shards), query, column, func() error { return fn(column.Buf) })
}

// CountHashes returns the number of rows of a shard: its stored hashes, replays counted until they are merged. It is
// what a filter has to be sized for.
func (db *DB) CountHashes(ctx context.Context, shard, shards int) (n uint64, err error) {
	where, err := shardRange(shard, shards)
	if err != nil {
		return 0, err
	}
	query := "SELECT sum(n) FROM (" + db.onceOfBoth("SELECT count() AS n FROM ", where) + ")"
	err = db.selectAll(ctx, fmt.Sprintf("count shard %d of %d", shard, shards), query, func(rows driver.Rows) error {
		return rows.Scan(&n)
	})
	return n, err
}
