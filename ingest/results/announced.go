package results

// Single signings whose rows may not be stored yet.

import (
	"countersign/internal/fifo"
	"countersign/pipeline/record"
	"countersign/sink/store"
)

// announced keeps the newest announced signings of each shard, some 500 bytes each.
//
// A sink leaves no more than record.MaxUnstoredSinglesOfShard signings of a shard unstored, and while a shard moves its
// old and its new owner both may. A shard's rows are stored in the order in which they are announced, so those that are
// not stored are the newest: twice the share has all of them. One memory for all shards would not do: while the sink of
// one shard is stuck, signings of the others would push its rows out.
type announced []*fifo.Map[[32]byte, store.SignedHash] // by shard

func newAnnounced(shards int) announced {
	a := make(announced, shards)
	for i := range a {
		a[i] = fifo.New[[32]byte, store.SignedHash](2 * record.MaxUnstoredSinglesOfShard(shards))
	}
	return a
}

func (a announced) put(hash [32]byte, row store.SignedHash) {
	a[record.Shard(hash[:], len(a))].Put(hash, row)
}

func (a announced) get(hash [32]byte) (store.SignedHash, bool) {
	return a[record.Shard(hash[:], len(a))].Get(hash)
}
