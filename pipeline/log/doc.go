// Package log moves opaque records through a Kafka log: it creates topics, produces with acks=all, consumes partitions as a
// group, tails a topic, and runs the broker that is embedded when there is no cluster.
//
// It owns every connection to a broker, and is the only importer of github.com/segmentio/kafka-go and of franz-go's kfake.
//
// It promises
//   - order within a partition, as long as a record's Timeout isn't exceeded;
//   - that an acknowledged record is on all in-sync replicas, and after [Producer.Flush] on the embedded broker's disk (I1);
//   - that a failed record says whether it can have been stored ([MayBeStored], I2);
//   - at-least-once delivery: kafka-go has no idempotent producer, so a retried request can store its records twice, and a
//     partition's new owner reads again what the old one hadn't committed (I5 makes both harmless);
//   - bounded memory: the producer's queue has a limit in bytes, a fetch holds about [maxFetchBytes] a partition (I6).
//
// It must not know what a record contains, what an upload is, or which topics there are.
package log
