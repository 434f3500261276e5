package main

// The log, embedded or not.

import (
	"context"
	"crypto/tls"
	"fmt"
	"path/filepath"

	"countersign/pipeline/certs"
	"countersign/pipeline/log"
)

// startLog opens the log, embedded or not, and makes its topics.
func (s *service) startLog(ctx context.Context) error {
	cfg, err := s.kafkaConfig()
	if err != nil {
		return err
	}
	if len(cfg.Brokers) == 0 {
		broker, err := log.StartEmbedded(ctx, log.EmbeddedConfig{
			Dir: filepath.Join(s.cfg.DataDir, "log"), Logger: s.log.With("part", "log"),
		})
		if err != nil {
			return fmt.Errorf("start the embedded log: %w", err)
		}
		s.onStop(func(context.Context) {
			if err := broker.Close(); err != nil {
				s.log.Warn("stopping the embedded log", "error", err)
			}
		})
		cfg.Brokers, cfg.Flush = broker.Brokers(), broker.Flush
	}
	if s.kafka, err = log.Open(ctx, cfg); err != nil {
		return fmt.Errorf("--kafka: %w", err)
	}
	s.onStop(func(context.Context) { _ = s.kafka.Close() })
	s.producer = s.kafka.NewProducer(log.ProducerConfig{})
	s.onStop(func(ctx context.Context) { _ = s.producer.Close(ctx) })
	return s.makeTopics(ctx)
}

func (s *service) kafkaConfig() (log.Config, error) {
	c := log.Config{
		Brokers: s.cfg.Kafka, Prefix: s.cfg.KafkaPrefix, ClientID: "countersign", Logger: s.log,
		SASL: log.SASL{Mechanism: s.cfg.KafkaSASL, User: s.cfg.KafkaUser, Password: s.cfg.KafkaPassword},
	}
	if !s.cfg.KafkaTLS {
		return c, nil
	}
	c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if s.cfg.KafkaCA != "" {
		roots, err := certs.LoadRoots(s.cfg.KafkaCA, false)
		if err != nil {
			return c, fmt.Errorf("--kafka-ca: %w", err)
		}
		c.TLS.RootCAs = roots
	}
	return c, nil
}
