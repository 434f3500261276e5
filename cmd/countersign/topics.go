package main

// The topics of the log.

import (
	"context"
	"fmt"
	"time"

	"countersign/pipeline/log"
	"countersign/pipeline/record"
)

func (s *service) makeTopics(ctx context.Context) error {
	replication, retention := 1, 24*time.Hour
	if len(s.cfg.Kafka) > 0 {
		replication, retention = 3, 7*24*time.Hour
	}
	if s.cfg.KafkaReplication > 0 {
		replication = s.cfg.KafkaReplication
	}
	if s.cfg.KafkaRetention > 0 {
		retention = s.cfg.KafkaRetention
	}
	inSync := min(replication, 2) // a record that was acknowledged survives the loss of a broker (I1)
	for _, t := range []struct {
		name       string
		partitions int
		retention  time.Duration
		found      *int
	}{
		{record.TopicUploads, s.cfg.UploadPartitions, retention, &s.uploads},
		{record.TopicVerified, s.cfg.Shards, retention, &s.shards},
		{record.TopicEvents, 1, eventsKept, new(int)},
		{record.TopicDeadLetter, 1, retention, new(int)},
	} {
		n, err := s.kafka.EnsureTopic(ctx, log.TopicSpec{Name: t.name, Partitions: t.partitions, Replication: replication, MinInSync: inSync, Retention: t.retention})
		if err != nil {
			return fmt.Errorf("make topic %s: %w", t.name, err)
		}
		*t.found = n
	}
	if s.shards != s.cfg.Shards {
		return fmt.Errorf("--shards %d: topic %s has %d partitions, and another number would give hashes a second owner; use --shards %d",
			s.cfg.Shards, record.TopicVerified, s.shards, s.shards)
	}
	return whileUnavailable(ctx, startTimeout, func(ctx context.Context) error { return s.db.CheckShards(ctx, s.shards) })
}
