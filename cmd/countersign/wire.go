package main

// Starting and stopping. Parts start in the order in which they need each other and stop in the reverse order; each start
// pushes its stop. Ports are bound first, so that a port in use shows before anything is written.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sys/unix"

	"countersign/ingest"
	"countersign/internal/health"
	"countersign/pipeline/certs"
	"countersign/pipeline/log"
	"countersign/pipeline/log/embedded"
	"countersign/pipeline/record"
	"countersign/pipeline/verify"
	"countersign/sink"
	"countersign/sink/store"
)

const (
	stopTimeout  = 30 * time.Second // for all of an orderly stop
	drainTimeout = 5 * time.Second  // for a stage to finish what is in the log
	startTimeout = 60 * time.Second // for ClickHouse to answer
	logPatience  = 3 * time.Second  // for a partition's leader to move
	eventsKept   = time.Hour        // events are for those who wait now
	cachedSites  = 1024             // an ECDSA key with its table takes half a megabyte
)

// service is one running process.
type service struct {
	cfg     *config
	log     *slog.Logger
	metrics *prometheus.Registry
	failed  chan error // capacity 1: the first part that ended by itself
	stops   []func(context.Context)
	ready   atomic.Pointer[func() []string] // nil while starting

	checks []health.Check // of the parts that were started
	board  *health.Board  // nil while starting

	kafka    *log.Client
	producer *log.Producer
	db       *store.DB
	shards   int
	uploads  int // partitions of topic uploads
}

// serve runs until ctx ends or a part fails, and then stops what was started.
func serve(ctx context.Context, cfg *config) error {
	unix.Umask(0o077) // what this process and its engine write is for this user alone
	s := &service{cfg: cfg, log: cfg.logger(), metrics: prometheus.NewRegistry(), failed: make(chan error, 1)}
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if cfg.MemoryLimit > 0 {
		debug.SetMemoryLimit(int64(cfg.MemoryLimit))
	}
	err := s.start(ctx)
	if err == nil {
		select {
		case <-ctx.Done():
			s.log.Info("stopping")
		case err = <-s.failed:
			s.log.Error("stopping, because a part failed", "error", err)
		}
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	for i := len(s.stops) - 1; i >= 0; i-- {
		s.stops[i](stopCtx)
	}
	return err
}

func (s *service) onStop(stop func(context.Context)) { s.stops = append(s.stops, stop) }

// background runs a part until the service stops it; before it is cancelled, drain may wait for its work to be done.
func (s *service) background(name string, drain, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil && ctx.Err() == nil {
			s.fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
	s.onStop(func(stopCtx context.Context) {
		if err := drain(stopCtx); err != nil {
			s.log.Info("stopping before all is done; the log keeps the rest", "part", name, "why", err)
		}
		cancel()
		<-done
	})
}

func (s *service) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

func (s *service) start(ctx context.Context) error {
	api, err := s.listen("--listen", s.cfg.Listen, s.cfg.has(roleIngest))
	if err != nil {
		return err
	}
	admin, err := s.listen("--admin-listen", s.cfg.AdminListen, s.cfg.AdminListen != "")
	if err != nil {
		return err
	}
	s.startAdmin(admin)
	for _, step := range []func(context.Context) error{s.startStore, s.startLog, s.startSink, s.startVerify} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	s.startBoard()
	if err := s.startIngest(api); err != nil {
		return err
	}
	s.log.Info("ready", "roles", s.cfg.Role, "listen", address(api), "admin", address(admin), "shards", s.shards)
	return nil
}

// startBoard begins to ask the parts that were started whether they can do their work.
func (s *service) startBoard() {
	s.board = health.New(health.Config{Checks: s.checks, Registerer: s.metrics})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.board.Run(ctx)
	}()
	s.onStop(func(context.Context) {
		cancel()
		<-done
	})
}

func address(l net.Listener) string {
	if l == nil {
		return ""
	}
	return l.Addr().String()
}

// listen binds a port, or says how to get it.
func (s *service) listen(flag, address string, wanted bool) (net.Listener, error) {
	if !wanted {
		return nil, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("can't listen where %s says: %w; stop the program that has the port, or choose another", flag, err)
	}
	s.onStop(func(context.Context) { _ = l.Close() })
	return l, nil
}

func (s *service) startAdmin(l net.Listener) {
	if l == nil {
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/", ingest.AdminHandler(s.notReady, s.metrics))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }()
	s.onStop(func(ctx context.Context) { _ = server.Shutdown(ctx) })
}

func (s *service) notReady() []string {
	if ready := s.ready.Load(); ready != nil {
		return append((*ready)(), s.board.Reasons()...)
	}
	return []string{"starting"}
}

// engineURLFile holds the embedded engine's URL while it runs, for `countersign query`.
func engineURLFile(dataDir string) string { return filepath.Join(dataDir, "engine.url") }

// startStore opens ClickHouse, embedded or not, and brings its schema up to date.
func (s *service) startStore(ctx context.Context) error {
	url := s.cfg.ClickHouse
	if url == "" {
		engine, err := store.StartEngine(ctx, store.EngineConfig{
			Dir: filepath.Join(s.cfg.DataDir, "clickhouse"), Binary: s.cfg.EngineBinary, Lib: s.cfg.EngineLib,
			MemoryLimit: int64(s.cfg.EngineMemory), Logger: s.log.With("part", "engine"),
		})
		if err != nil {
			return fmt.Errorf("start the embedded ClickHouse: %w", err)
		}
		stopping := make(chan struct{})
		go func() {
			select {
			case <-engine.Done():
				s.fail(fmt.Errorf("the embedded ClickHouse ended: %w", engine.Err()))
			case <-stopping:
			}
		}()
		s.onStop(func(ctx context.Context) {
			close(stopping)
			_ = os.Remove(engineURLFile(s.cfg.DataDir))
			if err := engine.Close(ctx); err != nil {
				s.log.Warn("stopping the embedded ClickHouse", "error", err)
			}
		})
		url = engine.URL()
		if err := os.WriteFile(engineURLFile(s.cfg.DataDir), []byte(url+"\n"), 0o600); err != nil {
			return fmt.Errorf("note where the embedded ClickHouse listens: %w", err)
		}
	}
	db, err := store.Open(ctx, store.Config{URL: url, Cluster: s.cfg.ClickHouseCluster, Logger: s.log})
	if err != nil {
		return fmt.Errorf("--clickhouse: %w", err)
	}
	s.db = db
	s.onStop(func(context.Context) { _ = db.Close() })
	if err := whileUnavailable(ctx, startTimeout, db.Migrate); err != nil {
		return fmt.Errorf("bring the schema up to date: %w", err)
	}
	return nil
}

// whileUnavailable repeats a call for as long as ClickHouse is away.
func whileUnavailable(ctx context.Context, limit time.Duration, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := call(ctx)
		if err == nil || !errors.Is(err, store.ErrUnavailable) {
			return err
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// startLog opens the log, embedded or not, and makes its topics.
func (s *service) startLog(ctx context.Context) error {
	cfg, err := s.kafkaConfig()
	if err != nil {
		return err
	}
	if len(cfg.Brokers) == 0 {
		broker, err := embedded.Start(ctx, embedded.Config{
			Dir: filepath.Join(s.cfg.DataDir, "log"), MinFreeDisk: int64(s.cfg.MinFreeDisk), LogMax: int64(s.cfg.LogMax),
			Logger: s.log.With("part", "log"), Registerer: s.metrics,
		})
		if err != nil {
			return fmt.Errorf("start the embedded log: %w", err)
		}
		stopping := make(chan struct{})
		go func() {
			select {
			case <-broker.Failed():
				s.fail(broker.Err())
			case <-stopping:
			}
		}()
		s.onStop(func(context.Context) {
			close(stopping)
			if err := broker.Close(); err != nil {
				s.log.Warn("stopping the embedded log", "error", err)
			}
		})
		s.checks = append(s.checks, health.Check{Name: "disk", Probe: func(context.Context) error { return broker.Room() }})
		cfg.Brokers, cfg.Dial, cfg.Flush = broker.Brokers(), broker.Dial, broker.Flush
	}
	if s.kafka, err = log.Open(ctx, cfg); err != nil {
		return fmt.Errorf("--kafka: %w", err)
	}
	s.onStop(func(context.Context) { _ = s.kafka.Close() })
	s.producer = s.kafka.NewProducer(log.ProducerConfig{})
	s.onStop(func(ctx context.Context) { _ = s.producer.Close(ctx) })
	s.checks = append(s.checks, health.Check{Name: "log", Probe: s.kafka.Check, Patience: logPatience})
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

func (s *service) startSink(context.Context) error {
	if !s.cfg.has(roleSink) {
		return nil
	}
	c := sink.Config{
		Store: s.db, Shards: s.shards, FlushLog: s.producer.Flush, Logger: s.log.With("part", roleSink), Registerer: s.metrics,
		Consume: func(ctx context.Context, handle func(context.Context, sink.Partition) error) error {
			return s.kafka.Consume(ctx, log.GroupConfig{
				Group: record.GroupSink, Topic: record.TopicVerified,
				Handle: func(ctx context.Context, p *log.Partition) error { return handle(ctx, p) },
			})
		},
		Send: func(ctx context.Context, topic string, partition int, value []byte) error {
			ack, err := s.producer.Send(ctx, topic, partition, value)
			if err == nil {
				_, err = ack.Wait(ctx)
			}
			return err
		},
	}
	s.background(roleSink, s.drain(record.GroupSink, record.TopicVerified), func(ctx context.Context) error { return sink.Run(ctx, c) })
	return nil
}

func (s *service) startVerify(context.Context) error {
	if !s.cfg.has(roleVerify) {
		return nil
	}
	cache, err := s.certificates()
	if err != nil {
		return err
	}
	s.onStop(func(context.Context) { cache.Close() })
	stage, err := verify.New(verify.Config{
		Producer: verify.KafkaProducer(s.producer), Certs: cache, Shards: s.shards, Workers: s.cfg.Workers,
		MemoryLimit: int64(s.cfg.VerifyMemory), Logger: s.log.With("part", roleVerify), Registerer: s.metrics,
	})
	if err != nil {
		return err
	}
	s.background(roleVerify, s.drain(record.GroupVerify, record.TopicUploads), func(ctx context.Context) error { return stage.Run(ctx, s.kafka.Consume) })
	return nil
}

// certificates puts together where keys come from.
func (s *service) certificates() (*certs.Cache, error) {
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

// drain waits, where this process is the whole service, until a group has done what is in the log.
func (s *service) drain(group, topic string) func(context.Context) error {
	return func(ctx context.Context) error {
		if len(s.cfg.Kafka) > 0 {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, drainTimeout)
		defer cancel()
		for {
			lag, err := s.kafka.Lag(ctx, group, topic)
			if err != nil || lag == 0 {
				return err
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return fmt.Errorf("%d records are left", lag)
			}
		}
	}
}

func (s *service) startIngest(l net.Listener) error {
	if l == nil {
		alwaysReady := func() []string { return nil }
		s.ready.Store(&alwaysReady)
		return nil
	}
	server, err := ingest.New(ingest.Config{
		TLSCert: s.cfg.TLSCert, TLSKey: s.cfg.TLSKey, Log: ingest.KafkaLog(s.kafka, s.producer), UploadPartitions: s.uploads, Store: s.db,
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
		if err := server.Serve(l); err != nil {
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
