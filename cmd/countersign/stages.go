package main

// The stages: what each is given, and how it is stopped.

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"

	"countersign/ingest"
	"countersign/pipeline/certs"
	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/verify"
	"countersign/sink"
	"countersign/sink/store"
)

func (s *process) startSink(db *store.DB, l *openLog) {
	if !s.cfg.has(roleSink) {
		return
	}
	c := sink.Config{
		Store: db, Shards: l.shards, FlushLog: l.producer.Flush, Logger: s.log.With("part", roleSink), Registerer: s.metrics,
		Consume: func(ctx context.Context, handle func(context.Context, sink.Partition) error) error {
			return l.client.Consume(ctx, log.GroupConfig{
				Group: record.GroupSink, Topic: record.TopicVerified,
				Handle: func(ctx context.Context, p *log.Partition) error { return handle(ctx, p) },
			})
		},
		Send: func(ctx context.Context, topic string, partition int, value []byte) error {
			ack, err := l.producer.Send(ctx, topic, partition, value)
			if err == nil {
				_, err = ack.Wait(ctx)
			}
			return err
		},
	}
	s.background(roleSink, s.drainGroup(l, record.GroupSink, record.TopicVerified), func(ctx context.Context) error { return sink.Run(ctx, c) })
}

func (s *process) startVerify(l *openLog) error {
	if !s.cfg.has(roleVerify) {
		return nil
	}
	cache, err := s.certificates()
	if err != nil {
		return err
	}
	s.onStop(func(context.Context) { cache.Close() })
	stage, err := verify.New(verify.Config{
		Producer: verify.KafkaProducer(l.producer), Certs: cache, Shards: l.shards, Workers: s.cfg.Workers,
		MemoryLimit: int64(s.cfg.VerifyMemory), Logger: s.log.With("part", roleVerify), Registerer: s.metrics,
	})
	if err != nil {
		return err
	}
	s.background(roleVerify, s.drainGroup(l, record.GroupVerify, record.TopicUploads), func(ctx context.Context) error {
		return stage.Run(ctx, l.client.Consume)
	})
	return nil
}

// cachedSites bounds the cache of keys: an ECDSA key with its table takes half a megabyte.
const cachedSites = 1024

// certificates puts together where keys come from.
func (s *process) certificates() (*certs.Cache, error) {
	hosts, err := s.cfg.hosts()
	if err != nil {
		return nil, err
	}
	var roots *x509.CertPool
	if s.cfg.CertRoots != "" {
		if roots, err = certs.LoadRoots(s.cfg.CertRoots, false); err != nil {
			return nil, fmt.Errorf("--cert-roots: %w", err)
		}
	}
	source := certs.Network(certs.NetworkConfig{Roots: roots, Hosts: hosts})
	if s.cfg.CertDir != "" {
		source = certs.FirstOf(certs.Dir(s.cfg.CertDir, certs.DirConfig{}), source)
	}
	return certs.NewCache(source, certs.CacheConfig{Entries: cachedSites})
}

// startIngest serves the API on listener; nil: this process has no such role.
func (s *process) startIngest(listener net.Listener, db *store.DB, l *openLog) error {
	if listener == nil {
		alwaysReady := func() []string { return nil }
		s.ready.Store(&alwaysReady)
		return nil
	}
	server, err := ingest.New(ingest.Config{
		TLSCert: s.cfg.TLSCert, TLSKey: s.cfg.TLSKey, Log: ingest.KafkaLog(l.client, l.producer), UploadPartitions: l.uploads, Store: db,
		MaxBody: int64(s.cfg.MaxBody), MaxPairs: s.cfg.MaxPairs, MaxUploads: s.cfg.MaxUploads, MaxBacklog: s.cfg.MaxBacklog,
		StallTimeout: s.cfg.StallTimeout, UploadTimeout: s.cfg.UploadTimeout,
		Logger: s.log.With("part", roleIngest), Metrics: s.metrics,
	})
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); err != nil {
			s.fail(fmt.Errorf("%s: %w", roleIngest, err))
		}
	}()
	s.onStop(func(ctx context.Context) {
		if err := server.Shutdown(ctx); err != nil {
			s.log.Warn("stopping the API", "error", err)
		}
		<-done
	})
	notReady := server.NotReady
	s.ready.Store(&notReady)
	return nil
}
