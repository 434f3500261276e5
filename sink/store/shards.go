package store

// How the hash space is divided among shards.

import (
	"context"
	"fmt"
)

// ShardsError says that topic `verified` has another number of partitions than the hashes in ClickHouse were divided
// by.
type ShardsError struct {
	Recorded int // what the database was filled with
	Now      int // what the topic has
}

func (e *ShardsError) Error() string {
	return fmt.Sprintf("topic verified has %d partitions, but this database was filled from %d shards; "+
		"with another number a hash could get a second owner: "+
		"give the topic %d partitions again, or start with an empty database", e.Now, e.Recorded, e.Recorded)
}

// CheckShards records the number of shards the first time, and afterwards says by a *ShardsError if it is another one. Of
// two processes that start with different numbers, one is refused, always.
func (db *DB) CheckShards(ctx context.Context, shards int) error {
	if shards < 1 {
		return fmt.Errorf("clickhouse: %d shards can't be recorded", shards)
	}
	return db.agree(ctx, "verified_shards", int64(shards), func(recorded int64) error {
		if recorded != int64(shards) {
			return &ShardsError{Recorded: int(recorded), Now: shards}
		}
		return nil
	})
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
