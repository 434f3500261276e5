package store

// Who else signed a hash: rows of cosigners.

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// MaxCoSigners is how many sites beside the owner's are told for one hash: the earliest.
const MaxCoSigners = 100

// CoSigners are the sites that signed a hash and don't own it.
type CoSigners struct {
	First []SignedHash // the earliest, in the order of their time, at most as many as were asked for
	Count uint64       // of all
}

// CoSigners returns who else signed each of the hashes. Hashes that nobody else signed are left out. It is a read of
// callers: bound the number of hashes, a hundred may come to 4 MB with RSA-2048. Of each at most MaxCoSigners are named.
func (db *DB) CoSigners(ctx context.Context, hashes [][32]byte) (map[[32]byte]CoSigners, error) {
	return db.coSigners(ctx, signedColumns, MaxCoSigners, hashes)
}

func (db *DB) coSigners(ctx context.Context, columns string, most int, hashes [][32]byte) (map[[32]byte]CoSigners, error) {
	found := make(map[[32]byte]CoSigners)
	for _, some := range byPlace(db.layout(), hashes, hashBytes, "hash") {
		many, err := db.firstCoSigners(ctx, columns, most, some, found)
		if err == nil && many {
			err = db.countCoSigners(ctx, some, found)
		}
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// firstCoSigners reads the earliest ones. many says that a hash has as many as are read, and maybe more.
func (db *DB) firstCoSigners(
	ctx context.Context, columns string, most int, some share[[32]byte], found map[[32]byte]CoSigners,
) (many bool, err error) {
	ctx, where, err := whereHash(ctx, some)
	if err != nil {
		return false, fmt.Errorf("clickhouse: look up co-signers: %w", err)
	}
	// A site may have rows that are not merged yet: its earliest is the one that stays.
	query := fmt.Sprintf("SELECT * FROM (SELECT %s FROM cosigners WHERE %s ORDER BY signed_at, upload, position LIMIT 1 BY hash, site)"+
		" ORDER BY signed_at, site LIMIT %d BY hash", columns, where, most)
	err = db.readAll(ctx, "look up co-signers", query, func(rows driver.Rows) error {
		hash, s, err := scanSigned(rows)
		also := found[hash]
		also.First = append(also.First, s)
		also.Count = uint64(len(also.First))
		many = many || also.Count == uint64(most)
		found[hash] = also
		return err
	})
	return many, err
}

func (db *DB) countCoSigners(ctx context.Context, some share[[32]byte], found map[[32]byte]CoSigners) error {
	ctx, where, err := whereHash(ctx, some)
	if err != nil {
		return fmt.Errorf("clickhouse: count co-signers: %w", err)
	}
	query := "SELECT hash, uniqExact(site) FROM cosigners WHERE " + where + " GROUP BY hash"
	return db.readAll(ctx, "count co-signers", query, func(rows driver.Rows) error {
		var hash []byte
		var n uint64
		err := rows.Scan(&hash, &n)
		if also, ok := found[[32]byte(hash)]; ok && err == nil {
			also.Count = n
			found[[32]byte(hash)] = also
		}
		return err
	})
}
