package main

// The stages: what each is given, and how it is stopped.

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net"

	"countersign/ingest"
	"countersign/ingest/server"
	"countersign/internal/health"
	"countersign/pipeline/certs"
	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/verify"
	"countersign/sink"
	"countersign/sink/store"
)

func (p *process) startSink(db *store.DB, l *openLog) {
	if !p.cfg.has(roleSink) {
		return
	}
	rows := new(sink.Health)
	p.checks = append(p.checks, health.Check{Name: "sink", Probe: rows.Check, Patience: storePatience})
	c := sink.Config{
		Health: rows, Store: db, Shards: l.shards, FlushLog: l.producer.Flush, Logger: p.log.With("part", roleSink), Registerer: p.metrics,
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
	p.background(roleSink, p.drainGroup(l, record.GroupSink, record.TopicVerified), func(ctx context.Context) error { return sink.Run(ctx, c) })
}

func (p *process) startVerify(l *openLog) error {
	if !p.cfg.has(roleVerify) {
		return nil
	}
	sites, err := p.certificates()
	if err != nil {
		return err
	}
	p.onStop(func(context.Context) { sites.Close() })
	p.checks = append(p.checks, sites.Checks()...)
	stage, err := verify.New(verify.Config{
		Producer: l.producer, Certs: sites, Shards: l.shards, Workers: p.cfg.Workers,
		MemoryLimit: int64(p.cfg.VerifyMemory), Logger: p.log.With("part", roleVerify), Registerer: p.metrics,
	})
	if err != nil {
		return err
	}
	p.background(roleVerify, p.drainGroup(l, record.GroupVerify, record.TopicUploads), func(ctx context.Context) error {
		return stage.Run(ctx, l.client.Consume)
	})
	return nil
}

// certificates puts together where keys come from.
func (p *process) certificates() (*certs.Sites, error) {
	hosts, err := p.cfg.hosts()
	if err != nil {
		return nil, err
	}
	var roots *x509.CertPool
	if p.cfg.CertRoots != "" {
		if roots, err = certs.LoadRoots(p.cfg.CertRoots); err != nil {
			return nil, fmt.Errorf("--cert-roots: %w", err)
		}
	}
	denied, err := certs.ParsePrefixes(p.cfg.DenyAddress)
	if err != nil {
		return nil, fmt.Errorf("--deny-address: %w", err)
	}
	return certs.New(certs.Config{
		Dir: p.cfg.CertDir, Network: certs.NetworkConfig{Roots: roots, Hosts: hosts, Deny: denied}, Grace: p.cfg.CertGrace,
		Logger: p.log.With("part", "certs"), Registerer: p.metrics,
	})
}

// startIngest serves the API on listener; nil: this process has no such role.
func (p *process) startIngest(listener net.Listener, db *store.DB, l *openLog) error {
	if listener == nil {
		return nil
	}
	proxies, err := p.cfg.proxies()
	if err != nil {
		return err
	}
	// A producer of its own, so that what a client waits for is refused at once when the disk is full, and doesn't wait
	// behind records that the stages behind ingest send again and again meanwhile.
	producer := p.newProducer(l, log.ProducerConfig{Room: l.room})
	api, err := ingest.New(ingest.Config{
		HTTP: server.Config{
			TLSCert: p.cfg.TLSCert, TLSKey: p.cfg.TLSKey, MaxBody: int64(p.cfg.MaxBody),
			StallTimeout: p.cfg.StallTimeout, BodyTimeout: p.cfg.UploadTimeout,
		},
		Log: ingest.KafkaLog(l.client, producer), UploadPartitions: l.uploads, Shards: l.shards, Store: db,
		Alone:    l.room != nil, // an embedded log is nobody else's
		MaxPairs: p.cfg.MaxPairs, MaxUploads: p.cfg.MaxUploads, MaxBacklog: p.cfg.MaxBacklog,
		MinBodyRate: cmp.Or(int64(p.cfg.MinBodyRate), -1), TrustedProxies: proxies,
		Failing: p.failing, Logger: p.log.With("part", roleIngest), Registerer: p.metrics,
	})
	if err != nil {
		return err
	}
	if p.cfg.TLSCert != "" {
		p.reloads.add("tls-cert, tls-key", api.ReloadCertificate)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := api.Serve(listener); err != nil {
			p.fail(fmt.Errorf("%s: %w", roleIngest, err))
		}
	}()
	p.onStop(func(ctx context.Context) {
		if err := api.Shutdown(ctx); err != nil {
			p.log.Warn("stopping the API", "error", err)
		}
		<-done
	})
	p.checks = append(p.checks, api.Checks()...)
	return nil
}
