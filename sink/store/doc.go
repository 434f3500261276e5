// Package store keeps what countersign stores: signed hashes, uploads, batch results and certificates, in ClickHouse.
//
// It owns the schema, its migrations, every statement, and the embedded engine that serves where no ClickHouse is
// given. It is the only importer of the driver.
//
// It promises that an insert which returned nil is stored and seen by every lookup that starts afterwards, and that what
// it reads is right while replayed rows are unmerged: a stage that repeats its input inserts rows with keys that are
// there already, and ReplacingMergeTree drops the extra ones when it gets to it (invariant I5), so each query here counts a key
// once. Everything that a later attempt can mend is [ErrUnavailable]; the package itself retries nothing but the start of
// the engine and inserts that collide on a quorum.
//
// It must not know of Kafka, of records, or of who owns a hash: ownership is decided by the order of a shard's log (I4),
// and this package only answers who was stored.
package store
