// Package sink is the stage that turns claims into rows. A shard of the hash space is a partition of topic verified.
// The process that is assigned the partition decides alone, by the order of the log, which claim owns a hash.
//
// It owns the assigned shards, the rows and the events that come of them until those are stored and sent, and the
// committed offsets of topic verified.
//
//	partition ─► fetch ─► walk: decode, probe, look up, resolve ─┐                              ┌─► results ─► commits
//	partition ─► fetch ─► walk: decode, probe, look up, resolve ─┼─► queue ─► writer ─► hashes ─┤
//	partition ─► fetch ─► walk: decode, probe, look up, resolve ─┘                              └─► events
//
// It promises
//   - I4: a hash has one owner, the first claim to it in its shard's log.
//   - I5: rows, results and counts are a function of the log alone. Walking any part of the log again writes the same
//     rows under the same keys. So does walking it beside an owner that was replaced and doesn't know yet.
//   - An offset is committed only when all rows of the records below it are stored, and never after the assignment
//     ended.
//   - A result is stored only after the hashes that it counts as added. An event leaves only after its result is
//     stored, or, for a single signing, after the log that decides it is durable.
//   - While ClickHouse refuses or is away nothing is lost, reordered or committed, and memory stays bounded (I6).
//   - A record that can't be decoded goes to topic deadletter and doesn't stop its partition (I7).
//
// Batching is natural: what arrives while an insert is in flight makes up the next one. So a lone record is written at
// once, and under load inserts grow until they keep up. Only the rows of single signings linger, because their callers
// don't wait for rows. A flush is what is inserted together. It goes through these states:
//
//	        a record's rows              due                      every insert succeeded
//	empty ─────────────────► open ───────────────► being written ───────────────────────► stored ──► empty again
//	                         ▲  │                   ▲      │                                 │
//	                         └──┘                   └──────┘                                 └─► its events leave,
//	                   more records' rows      an insert failed:                                 its offsets are
//	                                           it is repeated                                    committed
//
// An open flush is due when the writer is free, and one of these holds: the flush has rows that somebody waits for; it
// has lingered long enough; it is full, and another one was opened behind it; memory is used up. Rows of which more
// come at once linger for a moment (queue.go). The writer is two goroutines (writer.go), so a flush that is large
// enough is begun while the one before is finished.
//
// A record that holds single signings alone goes through these states:
//
//	         deferrable
//	decided ─────┬───────────► lingering in a flush ───────────────► stored ──► committed
//	             │        └──► log flushed ──► announced early, the event carries the row
//	             │
//	             └───────────► in a flush that doesn't linger ─────► stored ──► announced, committed
//	         not deferrable
//
// A record is not deferrable if it brings certificates, if one of its claims is to a hash whose row isn't stored yet,
// or if its shard has announced its share of unstored signings already (record.MaxUnstoredSinglesOfShard). Then its
// flush doesn't linger, and takes along what does.
//
// Reading order, as a record passes: config.go, sink.go (Run), shard.go (an assignment), walk.go (its log, in order),
// lookup.go (questions to the store), rows.go (from records to rows), flush.go and queue.go (rows on their way),
// writer.go (inserts), events.go (announcements), health.go, metrics.go.
//
// It must not know HTTP, certificates or signatures.
package sink
