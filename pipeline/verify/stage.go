// Package verify is the verify stage: it reads uploads from the log, checks their signatures while they are still
// arriving, decides by which certificates, and forwards claims and outcomes to the shards.
//
// It promises what docs/design.md says of verify: an upload is forwarded only after its seal (I2), by the first decision
// in its partition's log (I5), completely (I3), and again in the same way after any crash. All it remembers is a cache: what
// it does not hold it reads again, so memory is bounded whatever is open (I6). No record stops a partition (I7).
//
// It must not know HTTP, ClickHouse, or which hash was signed before.
package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"countersign/pipeline/certs"
	"countersign/pipeline/log"
	"countersign/pipeline/record"
)

// Config is what the stage needs and how much it may use. Producer, Certs and Shards have no defaults.
type Config struct {
	Producer Producer
	Certs    Certs
	Shards   int // partitions of topic verified

	// Workers is how many goroutines verify signatures; 0 means one per processor that Go may use.
	Workers int
	// MemoryLimit bounds the bytes of chunks held for open uploads, in the whole process. An upload that finds no room is
	// read again after its seal, so 0 works, at the price of verifying twice.
	MemoryLimit int64
	// OrphanAge is how long an upload that nobody writes to may hold memory when others need it. Its writer is given
	// up by ingest sooner than that. Default one minute.
	OrphanAge time.Duration
	// MaxDeciding bounds the sealed uploads of one partition that wait for certificates, verification or their decision's
	// append. Past it the partition is not read on, so it should be more than are sealed for sites that hang, in the 20 s until
	// those are given up; each is a goroutine of a few KiB. Default 2048.
	MaxDeciding int
	// Retry is the pause before something the log refused is tried again. Default half a second.
	Retry time.Duration

	Clock      func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics are exported
}

// Producer appends records to the log. See KafkaProducer.
type Producer interface {
	// Send queues value, which the producer owns until the Ack is there. Records of one partition keep their order.
	Send(ctx context.Context, topic string, partition int, value []byte) (Ack, error)
	// Flush returns when no power cut can take away what was acknowledged before the call, to whomever.
	Flush(ctx context.Context) error
}

// Ack stands for one sent record. *log.Ack is one.
type Ack interface {
	// Wait returns the record's offset once all in-sync replicas hold it.
	Wait(ctx context.Context) (offset int64, err error)
}

// KafkaProducer is p as a Producer.
func KafkaProducer(p *log.Producer) Producer { return kafkaProducer{p} }

type kafkaProducer struct{ *log.Producer }

func (p kafkaProducer) Send(ctx context.Context, topic string, partition int, value []byte) (Ack, error) {
	ack, err := p.Producer.Send(ctx, topic, partition, value)
	if err != nil {
		return nil, err // not a nil *log.Ack in an Ack
	}
	return ack, nil
}

// Certs gives the keys of sites. *certs.Cache is one.
type Certs interface {
	Get(ctx context.Context, site string) (*certs.Entry, error)
	Refetch(ctx context.Context, site string, seen *certs.Entry) (*certs.Entry, error)
	KeysOf(chains []certs.Chain) ([]certs.Key, error)
}

// Partition is one assigned partition of topic uploads. *log.Partition is one.
type Partition interface {
	ID() int
	Start() int64
	Fetch(ctx context.Context) ([]log.Message, error)
	Commit(next int64)
	ReadRange(ctx context.Context, from, to int64, fn func(log.Message) error) error
}

// Stage verifies. Its workers and its memory are shared by all partitions that the process is assigned.
type Stage struct {
	cfg                   Config
	jobs                  chan func(*scratch) // unbuffered: a job that is taken is run
	held                  atomic.Int64        // bytes of chunks in memory, all partitions
	shortReads, longReads chan struct{}       // see turns
	sightings             sightings
	metrics               *metrics
}

// New checks the configuration and makes a stage; Run works.
func New(cfg Config) (*Stage, error) {
	if cfg.Producer == nil || cfg.Certs == nil || cfg.Shards < 1 {
		return nil, errors.New("pipeline: Producer, Certs and Shards must be given")
	}
	if cfg.Workers <= 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	if cfg.MaxDeciding <= 0 {
		cfg.MaxDeciding = 2048
	}
	if cfg.OrphanAge <= 0 {
		cfg.OrphanAge = time.Minute
	}
	if cfg.Retry <= 0 {
		cfg.Retry = 500 * time.Millisecond
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Stage{cfg: cfg, jobs: make(chan func(*scratch)),
		shortReads: make(chan struct{}, maxShortReads), longReads: make(chan struct{}, maxLongReads)}
	s.metrics = newMetrics(cfg.Registerer, &s.held)
	return s, nil
}

// Run consumes topic uploads in the verifiers' group until ctx ends, which is no error. consume is (*log.Client).Consume.
func (s *Stage) Run(ctx context.Context, consume func(context.Context, log.GroupConfig) error) error {
	g, working := errgroup.WithContext(ctx)
	for range s.cfg.Workers {
		g.Go(func() error { s.work(working); return nil })
	}
	g.Go(func() error {
		return consume(working, log.GroupConfig{
			Group: record.GroupVerify,
			Topic: record.TopicUploads,
			Handle: func(ctx context.Context, p *log.Partition) error {
				return s.handle(ctx, p)
			},
		})
	})
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("verify: %w", err)
	}
	return nil
}

// work runs jobs until ctx ends.
func (s *Stage) work(ctx context.Context) {
	scratch := new(scratch)
	for {
		select {
		case job := <-s.jobs:
			job(scratch)
		case <-ctx.Done():
			return
		}
	}
}

// submit hands a job to the workers, or reports that ctx ended first. It waits for a worker, never for another partition.
func (s *Stage) submit(ctx context.Context, job func(*scratch)) error {
	select {
	case s.jobs <- job:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
