package main

// The log's topics: how many partitions each has, how often it is copied, and for how long it is kept. This is policy,
// so it is a function of the settings alone.

import (
	"time"

	"countersign/pipeline/log"
	"countersign/pipeline/record"
)

const (
	embeddedRetention   = 24 * time.Hour
	clusterRetention    = 7 * 24 * time.Hour // longer than any outage that has to be survived: Kafka deletes what was not read, too
	leastRetention      = 2 * time.Hour      // decisions name certificates that were logged up to an hour before
	eventsRetention     = time.Hour          // events are for callers who wait now
	clusterReplication  = 3
	embeddedReplication = 1
	mostInSync          = 2 // a record that was acknowledged survives the loss of one broker (I1)
)

// topics says how the topics are created. Those that exist keep what they have.
func (c *config) topics() []log.TopicSpec {
	replication, retention := embeddedReplication, embeddedRetention
	if len(c.Kafka) > 0 {
		replication, retention = clusterReplication, clusterRetention
	}
	if c.KafkaReplication > 0 {
		replication = c.KafkaReplication
	}
	if c.KafkaRetention > 0 {
		retention = c.KafkaRetention
	}
	topic := func(name string, partitions int, retention time.Duration) log.TopicSpec {
		return log.TopicSpec{
			Name: name, Partitions: partitions, Retention: retention,
			Replication: replication, MinInSync: min(replication, mostInSync),
		}
	}
	return []log.TopicSpec{
		topic(record.TopicUploads, c.UploadPartitions, retention),
		topic(record.TopicVerified, c.Shards, retention),
		topic(record.TopicEvents, 1, eventsRetention),
		topic(record.TopicDeadLetter, 1, retention),
	}
}
