package record

// Rules about batches and single signings that several stages must share. Each stands here once.

// BatchState is what is known of one batch of an upload: what verify decided, and what the shards have made of its
// claims. The fields are sums over rows or events that were each counted once.
type BatchState struct {
	Decided  bool   // the outcome of verifying the batch is known; Claims says nothing before
	Claims   uint64 // valid pairs that verify sent to the shards
	Resolved uint64 // claims of which a shard said that they are added or duplicates
}

// Done reports whether every pair of the batch has its final outcome. ClickHouse's views say the same in SQL, and a
// test holds them against this.
func (b BatchState) Done() bool { return b.Decided && b.Resolved == b.Claims }

// MaxPartBytes bounds one part of a batch's claims, in bytes of hashes and signatures. Verify cuts the claims of one
// batch for one shard into parts by this rule alone: a claim that would take a part past the bound begins the next
// part.
//
// The number must never change. The sink counts the results of a batch by (upload, batch, shard, part), so a replay
// must cut the same claims into the same parts (I5). After a change, a replay of an upload that was stored before it
// would cut other parts. Their results would be counted beside the old ones, and the batch would have more results than
// claims for ever.
const MaxPartBytes = 800 << 10

// MaxUnstoredSingles bounds the single signings of a whole service that were announced and whose rows may not be stored
// yet, over all shards and sinks. Every ingest process keeps so many announced rows in memory, so that a client that
// was answered "signed OK" finds the hash (docs/design.md, "Single signings").
const MaxUnstoredSingles = 1 << 14

// MaxUnstoredSinglesOfShard is the share of one shard. The shares of all shards come to half of MaxUnstoredSingles:
// when a shard moves, its old owner's announced rows and its new owner's are there together for a while. It is at least
// 1.
func MaxUnstoredSinglesOfShard(shards int) int { return max(1, MaxUnstoredSingles/2/shards) }
