package verify

// The stage as a whole: what it needs, the group that it consumes, and the workers and the memory that all assigned
// partitions share.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"countersign/internal/fair"
	"countersign/pipeline/certs"
	"countersign/pipeline/log"
	"countersign/pipeline/record"
)

// Config is what the stage needs and how much it may use. Producer, Certs and Shards have no defaults.
type Config struct {
	Producer Producer
	Certs    Certs
	Shards   int // partitions of topic verified

	// Workers is how many goroutines check signatures. 0: one for each processor that Go may use.
	Workers int
	// MemoryLimit bounds the bytes of chunks held for open uploads, in the whole process. An upload that finds no room
	// is read again after its seal, so 0 works, at the price of checking each signature after a second reading.
	MemoryLimit int64
	// OrphanAge is how long an upload that nobody writes to may hold memory when others need it. Ingest gives up an
	// upload's writer sooner than that. 0: one minute.
	OrphanAge time.Duration
	// Backoff is the pause before something that the log refused is tried again. 0: half a second.
	Backoff time.Duration

	// Clock says what time it is for OrphanAge and for certificates that were announced before. Nil: time.Now.
	Clock func() time.Time
	// Logger gets what an operator should know. Nil: nothing is logged.
	Logger *slog.Logger
	// Registerer exports the metrics. Nil: none are exported.
	Registerer prometheus.Registerer
}

// withDefaults returns the configuration with its gaps filled, or an error that says what is missing.
func (c Config) withDefaults() (Config, error) {
	if c.Producer == nil || c.Certs == nil || c.Shards < 1 {
		return c, errors.New("verify: Producer, Certs and Shards must be given")
	}
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	if c.OrphanAge <= 0 {
		c.OrphanAge = time.Minute
	}
	if c.Backoff <= 0 {
		c.Backoff = 500 * time.Millisecond
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Producer appends records to the log. KafkaProducer makes one.
type Producer interface {
	// Send queues value, which the producer owns until the Ack is there. Records of one partition keep their order.
	Send(ctx context.Context, topic string, partition int, value []byte) (Ack, error)
	// Flush returns when everything that was acknowledged before the call, to any caller, is on disk.
	Flush(ctx context.Context) error
}

// Ack stands for one sent record.
type Ack = log.Ack

// Certs gives the keys of sites. *certs.Sites is one, and its methods say what these promise.
type Certs interface {
	Known(site string) certs.Known
	Await(ctx context.Context, site, client string) (certs.Known, error)
	Look(ctx context.Context, site, client string, since time.Time) (certs.Known, error)
	KeysOf(chains []certs.Chain) ([]certs.Key, error)
}

// Partition is one assigned partition of topic uploads. *log.Partition is one, and its methods say what these promise.
type Partition interface {
	ID() int
	Start() int64
	Fetch(ctx context.Context) ([]log.Message, error)
	Commit(next int64)
	ReadRange(ctx context.Context, from, to int64, fn func(log.Message) error) error
}

// Stage verifies. Its workers and its memory are shared by all partitions that the process is assigned.
type Stage struct {
	cfg       Config
	jobs      *fair.Queue[account, job] // for the workers; bounded by the chunks in memory
	held      atomic.Int64              // bytes of chunks in memory, all partitions
	readBacks readBacks
	sightings *sightings
	still     *standstill
	metrics   *metrics
}

// New checks the configuration and makes a stage. Nothing works before Run.
func New(cfg Config) (*Stage, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Stage{cfg: cfg, jobs: fair.New[account, job](0, int64(credit)), readBacks: newReadBacks(), sightings: newSightings()}
	s.still = &standstill{clock: cfg.Clock}
	s.metrics = newMetrics(cfg.Registerer, s)
	return s, nil
}

// start starts the goroutines that all partitions share. They end with ctx.
func (s *Stage) start(ctx context.Context, g *sync.WaitGroup) {
	for range s.cfg.Workers {
		g.Go(func() { s.work(ctx) })
	}
	s.readBacks.start(ctx, g)
	g.Go(func() { s.still.watch(ctx) })
}

// Run consumes topic uploads in the verifiers' group until ctx ends, which is no error. consume is
// (*log.Client).Consume.
func (s *Stage) Run(ctx context.Context, consume func(context.Context, log.GroupConfig) error) error {
	g, working := errgroup.WithContext(ctx)
	var workers sync.WaitGroup
	s.start(working, &workers)
	defer workers.Wait()
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
