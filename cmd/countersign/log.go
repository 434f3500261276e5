package main

// The log, embedded or not.

import (
	"context"
	"fmt"
	"path/filepath"

	"countersign/internal/health"
	"countersign/pipeline/log"
	"countersign/pipeline/log/embedded"
	"countersign/pipeline/record"
	"countersign/sink/store"
)

// openLog is the log once its topics are there.
type openLog struct {
	client   *log.Client
	producer *log.Producer // of the stages behind ingest, which wait as long as the log can't take their records
	room     func() error  // whether the embedded log's disk has room; nil: the log is Kafka
	uploads  int           // partitions of topic uploads
	shards   int           // partitions of topic verified
}

// startLog opens the log, embedded or not, and makes its topics.
func (p *process) startLog(ctx context.Context) (*openLog, error) {
	cfg, err := p.kafkaConfig()
	if err != nil {
		return nil, err
	}
	opened := new(openLog)
	if len(cfg.Brokers) == 0 {
		broker, err := embedded.Start(ctx, embedded.Config{
			Dir: filepath.Join(p.cfg.DataDir, "log"), MinFreeDisk: int64(p.cfg.MinFreeDisk), LogMax: int64(p.cfg.LogMax),
			Logger: p.log.With("part", "log"), Registerer: p.metrics,
		})
		if err != nil {
			return nil, fmt.Errorf("start the embedded log: %w", err)
		}
		stopping := make(chan struct{})
		go func() {
			select {
			case <-broker.Failed():
				p.fail(broker.Err())
			case <-stopping:
			}
		}()
		p.onStop(func(context.Context) {
			close(stopping)
			if err := broker.Close(); err != nil {
				p.log.Warn("stopping the embedded log", "error", err)
			}
		})
		p.checks = append(p.checks, health.Check{Name: "disk", Probe: func(context.Context) error { return broker.Room() }})
		cfg.Brokers, cfg.Dial, cfg.Flush, cfg.Broken = broker.Brokers(), broker.Dial, broker.Flush, broker.Err
		opened.room = broker.Room
	}
	if opened.client, err = log.Open(ctx, cfg); err != nil {
		return nil, fmt.Errorf("--kafka: %w", err)
	}
	p.onStop(func(context.Context) { _ = opened.client.Close() })
	p.checks = append(p.checks, health.Check{Name: "log", Probe: opened.client.Check, Patience: logPatience})
	opened.producer = p.newProducer(opened, log.ProducerConfig{})
	partitions := make(map[string]int)
	for _, spec := range p.cfg.topics() {
		if partitions[spec.Name], err = opened.client.EnsureTopic(ctx, spec); err != nil {
			return nil, fmt.Errorf("make topic %s: %w", spec.Name, err)
		}
	}
	opened.uploads, opened.shards = partitions[record.TopicUploads], partitions[record.TopicVerified]
	return opened, nil
}

func (p *process) newProducer(l *openLog, cfg log.ProducerConfig) *log.Producer {
	producer := l.client.NewProducer(cfg)
	p.onStop(func(ctx context.Context) { _ = producer.Close(ctx) })
	return producer
}

// checkShards ends the start where the number of shards is not the one that the stored hashes were given their owners
// by.
func (p *process) checkShards(ctx context.Context, db *store.DB, l *openLog) error {
	if l.shards != p.cfg.Shards {
		return fmt.Errorf("--shards %d: topic %s has %d partitions, and another number would give hashes a second owner; use --shards %d",
			p.cfg.Shards, record.TopicVerified, l.shards, l.shards)
	}
	return p.whileUnavailable(ctx, db, func(ctx context.Context) error { return db.CheckShards(ctx, l.shards) })
}

func (p *process) kafkaConfig() (log.Config, error) {
	c := log.Config{
		Brokers: p.cfg.Kafka, Prefix: p.cfg.KafkaPrefix, ClientID: "countersign", Logger: p.log,
		SASL: log.SASL{Mechanism: p.cfg.KafkaSASL, User: p.cfg.KafkaUser, Password: p.cfg.KafkaPassword},
	}
	if !p.cfg.KafkaTLS {
		return c, nil
	}
	var err error
	c.TLS, err = p.cfg.kafkaFiles().config(p.warn)
	return c, err
}
