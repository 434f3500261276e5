package main

import (
	"testing"
	"time"

	"countersign/pipeline/log"
	"countersign/pipeline/record"
)

func TestTopics(t *testing.T) {
	const day = 24 * time.Hour
	brokers := []string{"kafka:9092"}
	for name, c := range map[string]struct {
		config config
		want   log.TopicSpec // of topic uploads; the others differ in partitions, and events in its retention
	}{
		"embedded":             {config{}, log.TopicSpec{Replication: 1, MinInSync: 1, Retention: day}},
		"a cluster":            {config{Kafka: brokers}, log.TopicSpec{Replication: 3, MinInSync: 2, Retention: 7 * day}},
		"one broker":           {config{Kafka: brokers, KafkaReplication: 1}, log.TopicSpec{Replication: 1, MinInSync: 1, Retention: 7 * day}},
		"two copies":           {config{Kafka: brokers, KafkaReplication: 2}, log.TopicSpec{Replication: 2, MinInSync: 2, Retention: 7 * day}},
		"five copies":          {config{Kafka: brokers, KafkaReplication: 5}, log.TopicSpec{Replication: 5, MinInSync: 2, Retention: 7 * day}},
		"another retention":    {config{Kafka: brokers, KafkaRetention: day}, log.TopicSpec{Replication: 3, MinInSync: 2, Retention: day}},
		"embedded, kept short": {config{KafkaRetention: leastRetention}, log.TopicSpec{Replication: 1, MinInSync: 1, Retention: leastRetention}},
	} {
		t.Run(name, func(t *testing.T) {
			c.config.UploadPartitions, c.config.Shards = 6, 5
			got := c.config.topics()
			for i, topic := range []struct {
				name       string
				partitions int
				retention  time.Duration
			}{
				{record.TopicUploads, 6, c.want.Retention}, {record.TopicVerified, 5, c.want.Retention},
				{record.TopicEvents, 1, time.Hour}, {record.TopicDeadLetter, 1, c.want.Retention},
			} {
				want := c.want
				want.Name, want.Partitions, want.Retention = topic.name, topic.partitions, topic.retention
				if got[i] != want {
					t.Errorf("%+v, want %+v", got[i], want)
				}
			}
		})
	}
}
