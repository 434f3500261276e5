// Package verify is the verify stage: it reads uploads from the log, checks their signatures while they are still
// arriving, decides by which certificates, and sends valid pairs as claims to the shards of their hashes.
//
// It owns the consumer group of topic uploads, the decisions in that topic, and all of topic verified.
//
// It promises what docs/design.md says of verify: an upload is forwarded only after its seal and its decision are on
// disk (I2), by the first decision in its partition's log (I5), completely (I3), and in the same way again after any
// crash. All that it remembers is a cache: it reads again what it does not hold, so its memory is bounded however many
// uploads are open (I6). No record stops a partition (I7). An upload uses at most a budget of worker time (I8), and
// neither a site that doesn't answer nor a key that is slow holds up uploads of other sites (I9). A signature is called
// bad only by a look at its site that began after the upload's seal was seen.
//
// The files, in the order in which data passes them:
//
//   - stage.go: the configuration, and the group that is consumed. partition.go: what is shared by the goroutines that
//     work on one assigned partition.
//   - reader.go: reads the partition's records, in order. attempt.go: the chunks of one open upload, in memory.
//     upload.go: a sealed upload and the states it passes. progress.go: which offset may be committed.
//   - verification.go: what is checked of an upload, and what that costs. equals.go: equal pairs of a chunk. worker.go:
//     the goroutines that check signatures, for all partitions, in turns.
//   - coordinator.go: the goroutine that brings sealed uploads to their decisions and verdicts. sites.go: uploads that
//     wait for a look at their site. readback.go: chunks, from memory or from the log.
//   - announcer.go: appends decisions to the partition. decisions.go: decisions as they are read back.
//   - forwarder.go: sends decided uploads on. batches.go: sorts their pairs by shard and outcome. outbox.go: packs
//     records of topic verified. sightings.go: which certificates the sinks know already.
//   - metrics.go: what is counted.
//
// It must not know ClickHouse, HTTP or who owns a hash.
package verify
