// Package sink is the stage that turns claims into rows. It owns shards of the hash space: a shard is a partition of topic verified,
// and the process that is assigned the partition decides alone, by the order of the log, which claim owns a hash.
//
//	partition ─► shard: decode ─► probe ─► look up ─► resolve ─┐
//	partition ─► shard: decode ─► probe ─► look up ─► resolve ─┼─► queue ─► writer ─► hashes ─► results ─► events, commits
//	partition ─► shard: decode ─► probe ─► look up ─► resolve ─┘
//
// It promises
//   - I4: a hash has one owner, the first claim to it in its shard's log;
//   - I5: rows, results and counts are a function of the log alone; walking any part of it again, or beside an owner that was
//     replaced and doesn't know yet, writes the same rows under the same keys;
//   - an offset is committed only when all rows of the records below it are stored, and never after the assignment ended;
//   - a result is stored only after the hashes it counts as added, and an event leaves only after its result, or, of a single
//     signing, after what decides it is durable;
//   - while ClickHouse refuses or is away nothing is lost, reordered or committed, and memory stays bounded (I6);
//   - a record that can't be decoded goes to topic deadletter and doesn't stop its partition (I7).
//
// Batching is natural: what arrives while an insert is in flight makes up the next one. So a lone record is written at once,
// and under load inserts grow until they keep up. Only single signings linger: their callers don't wait for rows.
//
// It must not know how a signature is verified, where certificates come from, HTTP, the wire formats of Kafka and ClickHouse, or SQL.
package sink
