// Package store keeps what countersign stores, in ClickHouse: signed hashes, uploads, batch results and certificates.
//
// It owns the schema, its migrations and every statement. It is the only importer of the driver, and doesn't care whose
// ClickHouse it talks to: a server, a cluster, or the one that package engine runs.
//
// It promises
//   - An insert that returned nil is stored, and seen by every lookup that starts afterwards.
//   - What is read is right while replayed rows are unmerged (I5). A stage that repeats its input inserts rows with
//     keys that are there already. ReplacingMergeTree drops the extra rows when it merges, and until then each query
//     here counts a key once.
//   - An error that a later attempt can mend is [ErrUnavailable]. The package itself repeats nothing but inserts that
//     collide on a quorum.
//   - What callers ask has connections of its own, eight, and is asked for many keys at once. No insert, no migration and
//     no look-up of a stage waits behind it.
//   - It decides nothing about ownership. The order of a shard's log does (I4), and this package only answers who was
//     stored.
//
// Reading order: db.go (opening, and the query that all reads use), dial.go (connections), silence.go (servers that say
// nothing), check.go (whether inserts would be taken), errors.go, grants.go (what users need), layout.go (one server or a cluster:
// where the tables lie), migrate.go (the schema, with schema/*.sql), shards.go (the number of shards, and a shard's range of hashes), insert.go (what all inserts
// share), and a file for each table: hashes.go, uploads.go, certificates.go, results.go. print.go prints any query for
// people, with clauses.go.
//
// It must not know Kafka, HTTP, the stages or who owns a hash.
package store
