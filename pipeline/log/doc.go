// Package log is the client of the log, which speaks Kafka's protocol: it makes topics, sends opaque records to them,
// consumes partitions as a member of a group, and follows a topic from its end.
//
// It owns every connection to a broker and, but for the helpers of its tests, is the only importer of
// github.com/segmentio/kafka-go. The broker itself is a Kafka cluster, or the one of package embedded.
//
// It promises
//   - order within a partition, as long as a record doesn't exceed its producer's Timeout;
//   - that an acknowledged record is on all in-sync replicas, and after [Producer.Flush] on the embedded broker's
//     disk (I1);
//   - that a failed record says whether it can have been stored ([MayBeStored], I2);
//   - at-least-once delivery. kafka-go has no idempotent producer, so a request that is repeated can store its
//     records twice, and a partition's new owner reads again what the old one hadn't committed (I5 makes both
//     harmless);
//   - that one broker of several which accepts connections and says nothing delays a question by [askNext] (readiness is
//     [Client.Check] and [Tail.Check]);
//   - bounded memory: a producer's queue has a limit in bytes, a fetch holds about [maxFetchBytes] for each partition
//     (I6).
//
// Its files, in the order in which a record passes them: client.go and conn.go reach the brokers, ask.go asks them,
// topics.go makes the topics, check.go says whether they take records; producer.go queues a record and sender.go sends
// it; group.go hands out partitions, partition.go and reader.go read them, offsets.go and commits.go look up and commit
// where the group stands, passed.go waits until it stands there; tail.go reads without a group. errors.go says what a failure means.
//
// It must not know ClickHouse, HTTP, JSON, records, certificates, signatures or the stages.
package log
