package ingest

// Everything that can be set, and what this package needs from the rest of the program.

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/ingest/admission"
	"countersign/ingest/results"
	"countersign/ingest/server"
	"countersign/pipeline/record"
)

// Config is the manual of a [Server]. Zero values mean the default that each field states; fields without one are
// required.
type Config struct {
	// HTTP is what holds for every request: HTTPS, limits and time-outs. Its Logger and Registerer are those below.
	HTTP server.Config

	// Log keeps the uploads and brings back events. See KafkaLog.
	Log Log
	// UploadPartitions is the number of partitions of topic uploads.
	UploadPartitions int
	// Shards is the number of partitions of topic verified. Default 1.
	Shards int
	// Store answers polls. *store.DB is one.
	Store Store
	// Alone says that no other process serves this API over the same log. Then nobody has to be told of an upload, and
	// events are enough to answer polls.
	Alone bool

	// MaxPairs is the most pairs in one upload. Default 1,000,000, at most record.MaxPairs.
	MaxPairs int
	// MaxSyncPairs is the most pairs in one synchronous call. Default 100,000 (docs/contract.md, "synchronous batch").
	MaxSyncPairs int
	// MaxElement is the most bytes of one pair in the body. Default 64 KiB.
	MaxElement int
	// TrustedProxies are the peers whose X-Forwarded-For or Forwarded names the client. Default: none.
	TrustedProxies admission.Proxies
	// MinBodyRate is how many bytes a second a body must bring while others wait. Negative: no least rate. Default 16
	// KiB.
	MinBodyRate int64
	// MaxUploads is the most bodies open at a time; more wait for a second, and get 503. Each takes less than 4 MB
	// beside its connection, a zstd body up to 8 MiB more for its window. Default 64.
	MaxUploads int
	// MaxSync is the most synchronous calls open at a time; more wait for a second, and get 503. Default 1024.
	MaxSync int
	// Replies says how many replies of synchronous calls may be in flight, by their size. Default: that of
	// admission.Config.
	Replies []admission.ReplySize
	// MaxBacklog is how many records may wait in the log, for verifying and for storing together, before new uploads
	// get 503, and half of how many before clients with more than their share get 429 (admission.Ledger). A record
	// holds up to 1000 pairs. Default 20,000.
	MaxBacklog int64
	// MaxUnrecorded is how many accepted uploads may wait for their row in table uploads, some 150 bytes each, before
	// new ones get 503. Default 65,536.
	MaxUnrecorded int
	// WindowBytes is how much of one upload may be on its way to the log, not yet acknowledged; one record always may.
	// Default 1 MiB.
	WindowBytes int

	// SealTimeout is how long writing the seal and the flush may take together. Keep it above the log's own time-out
	// for a record: cut short earlier, a seal's fate is unknown. Default 40 s.
	SealTimeout time.Duration
	// RecordWait is how long the answer to an upload waits for its row in table uploads, where other processes could
	// not be told of the upload. Default 1 s.
	RecordWait time.Duration
	// SyncTimeout is how long a synchronous call waits for its result. Default 30 s.
	SyncTimeout time.Duration
	// SyncPoll is how often a synchronous call asks the store when no event came. Default 1 s.
	SyncPoll time.Duration
	// StoreTimeout bounds one read of the store. Default 10 s.
	StoreTimeout time.Duration
	// Retention is how long results can be asked for. Default 48 h (docs/contract.md, "retention").
	Retention time.Duration

	// Failing says why a check of the process's health fails; nil: it doesn't, or was not asked yet, or there is none
	// of this name. It never waits. Uploads are refused while check "log" or "disk" fails. nil: nothing fails.
	Failing func(check string) error

	// Logger gets what an operator should know. Default: nothing is logged.
	Logger *slog.Logger
	// Registerer is where the metrics are registered. Default: nowhere.
	Registerer prometheus.Registerer
	// Clock dates uploads. Time-outs use the machine's clock. Default time.Now.
	Clock func() time.Time
	// Random is where identifiers come from. Several goroutines read it at a time. Default crypto/rand.Reader.
	Random io.Reader
}

// Log is topic uploads and what comes back. Methods may be called at any time from any goroutine.
type Log interface {
	// Send appends value, a record of topic uploads, to a partition. Records sent to one partition one after the other
	// keep their order. The log owns value until the Ack is there. Send waits while its queue is full.
	Send(ctx context.Context, partition int, value []byte) (Ack, error)
	// Flush returns when every record acknowledged before the call survives a power cut.
	Flush(ctx context.Context) error
	// MayBeStored reports whether a record, of which Send or Wait said err, may be in the log nevertheless.
	MayBeStored(err error) bool
	// Full reports whether Send or Wait said err because the log's disk has no room.
	Full(err error) bool
	// Tell appends value, a record of topic events, and returns once all in-sync replicas hold it.
	Tell(ctx context.Context, value []byte) error
	// Follower brings back the records of topic events, and says what has passed the log.
	results.Follower
	// Followed returns nil while the records of topic events arrive, and otherwise a sentence for the operator. It
	// doesn't wait.
	Followed() error
	// Backlog returns how many records wait in the log.
	Backlog(ctx context.Context) (int64, error)
}

// Ack stands for one sent record.
type Ack interface {
	// Wait returns the record's offset once all in-sync replicas hold it.
	Wait(ctx context.Context) (offset int64, err error)
}

// Store is where results are read and uploads are recorded. Errors that wrap store.ErrUnavailable say that asking again
// later may help. A Store that also has a method Check(context.Context) error is asked by it whether it takes inserts.
type Store = results.Store

// withDefaults returns c filled in, or every problem it has. HTTP is filled in by package server.
func (c Config) withDefaults() (Config, error) {
	c.Shards = cmp.Or(c.Shards, 1)
	c.MaxPairs = cmp.Or(c.MaxPairs, 1_000_000)
	c.MaxSyncPairs = cmp.Or(c.MaxSyncPairs, 100_000)
	c.MaxElement = cmp.Or(c.MaxElement, 64<<10)
	c.MaxUploads = cmp.Or(c.MaxUploads, 64)
	c.MaxSync = cmp.Or(c.MaxSync, 1024)
	c.MaxBacklog = cmp.Or(c.MaxBacklog, 20_000)
	c.MaxUnrecorded = cmp.Or(c.MaxUnrecorded, 65_536)
	c.WindowBytes = cmp.Or(c.WindowBytes, 1<<20)
	c.SealTimeout = cmp.Or(c.SealTimeout, 40*time.Second)
	c.RecordWait = cmp.Or(c.RecordWait, time.Second)
	c.SyncTimeout = cmp.Or(c.SyncTimeout, 30*time.Second)
	c.SyncPoll = cmp.Or(c.SyncPoll, time.Second)
	c.StoreTimeout = cmp.Or(c.StoreTimeout, 10*time.Second)
	c.Retention = cmp.Or(c.Retention, 48*time.Hour)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	c.Random = cmp.Or(c.Random, rand.Reader)
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return c, c.check()
}

// admission is the part of c that is for package admission.
func (c *Config) admission() admission.Config {
	return admission.Config{
		TrustedProxies: c.TrustedProxies, MaxUploads: c.MaxUploads, MaxCalls: c.MaxSync, MaxConnections: c.HTTP.MaxConnections,
		Replies:    c.Replies,
		MaxBacklog: c.MaxBacklog, MinBodyRate: c.MinBodyRate, Registerer: c.Registerer,
	}
}

func (c *Config) check() error {
	var errs []error
	if c.Log == nil || c.Store == nil {
		errs = append(errs, errors.New("ingest: Log and Store are required"))
	}
	if c.UploadPartitions < 1 {
		errs = append(errs,
			fmt.Errorf("ingest: topic uploads has %d partitions: it needs at least one", c.UploadPartitions))
	}
	if c.Shards < 0 {
		errs = append(errs, fmt.Errorf("ingest: topic verified can't have %d partitions", c.Shards))
	}
	if c.MaxPairs > record.MaxPairs {
		errs = append(errs,
			fmt.Errorf("ingest: --max-pairs %d is more than positions can count: at most %d",
				c.MaxPairs, record.MaxPairs))
	}
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"--max-pairs", int64(c.MaxPairs)}, {"--max-uploads", int64(c.MaxUploads)}, {"--max-backlog", c.MaxBacklog},
		{"the synchronous calls' limit", int64(c.MaxSync)}, {"the synchronous pairs' limit", int64(c.MaxSyncPairs)},
		{"the window", int64(c.WindowBytes)},
	} {
		if n.value < 0 {
			errs = append(errs, fmt.Errorf("ingest: %s is negative: leave it out for the default", n.name))
		}
	}
	return errors.Join(errs...)
}
