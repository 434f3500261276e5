package sink

// What the stage is told, and what it needs of others.

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/internal/pause"
	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/sink/dedupe"
	"countersign/sink/store"
)

// Config is the environment of the stage. Fields without a default are required.
type Config struct {
	// Store keeps the rows.
	Store Store

	// Consume joins group sink on topic verified, and calls handle in a goroutine of its own for each partition it is
	// assigned. The context that handle gets ends when the partition is revoked; Consume returns when its own ends and
	// all handles returned.
	Consume func(ctx context.Context, handle func(ctx context.Context, p Partition) error) error

	// Send appends a record to a partition of topic events or deadletter and returns when it is acknowledged or given
	// up. value is Send's to keep. Called from several goroutines.
	Send func(ctx context.Context, topic string, partition int, value []byte) error

	// FlushLog returns when everything that the log acknowledged before the call survives a power cut. Default: what is
	// acknowledged survives it already.
	FlushLog func(ctx context.Context) error

	// Shards is the number of partitions of topic verified.
	Shards int

	// MaxPendingBytes bounds the memory of fetched records and of rows that aren't stored yet. At the limit no shard
	// fetches; a fetch that each had begun comes on top. Default 128 MiB.
	MaxPendingBytes int64
	// MaxFlushBytes and MaxFlushRows end an insert's growth. One record, of at most a thousand rows, may exceed them.
	// Defaults 64 MiB and 200,000.
	MaxFlushBytes int64
	MaxFlushRows  int
	// LeastInsert is how many hashes are worth an insert of their own: smaller ones would only make more parts to
	// merge. Default 32,768.
	LeastInsert int
	// FullRecord is the bytes from which a record counts as full: then more of the same upload comes at once. A record
	// that is taken for full and isn't, or the other way round, costs a moment. Default 750 KiB: verify cuts records of
	// whole batches at 850 KiB.
	FullRecord int64
	// Linger is how long the rows of single signings may wait for more before they are stored. Their callers have the
	// answer by then. Other rows don't wait, and take along what does. Default 250 ms.
	Linger time.Duration
	// RecentRows is how many stored rows all shards together keep in memory, so that hashes which are sent again soon
	// need no lookup. A row takes 80 bytes, and up to four times that. Default 262,144; negative for none.
	RecentRows int

	// Backoff is how long to wait after a call to the Store failed for the n-th time in a row, counted from 0. Default:
	// 50 ms, doubling up to 5 s.
	Backoff func(n int) time.Duration
	// DrainTimeout is how long a shard that is revoked may wait for what it has resolved to be stored. Default 5 s.
	DrainTimeout time.Duration
	// SendTimeout is how long an event or a dead letter may take before it is given up. Default 5 s.
	SendTimeout time.Duration

	// Health is told of calls to the Store that fail. Default: one of the stage's own, which nobody asks.
	Health *Health

	Clock      func() time.Time      // for measuring only; default time.Now
	Random     io.Reader             // keys of filters; safe for concurrent use; default crypto/rand
	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // of the stage's metrics; nil: not registered
}

// Store is what the stage needs of store.DB; the types' comments are there. An insert that returns nil is durable and
// seen by every later Owners and ScanHashes, of any process. An insert that fails may have stored none, some or all of
// its rows: it is repeated with the same rows. Nothing is retained after a call. Safe for concurrent use.
type Store interface {
	InsertSignatures(ctx context.Context, rows *store.HashRows) error
	InsertOwners(ctx context.Context, rows *store.HashRows) error
	InsertCosigners(ctx context.Context, rows *store.HashRows) error
	InsertExceptions(ctx context.Context, rows []store.ResultRow) error
	InsertOutcomes(ctx context.Context, rows []store.ResultRow) error
	InsertUploads(ctx context.Context, rows []store.Upload) error
	InsertCertificates(ctx context.Context, rows []store.Certificate) error
	// Owners adds to into the owner of each of hashes, 32 bytes each, that is stored.
	Owners(ctx context.Context, hashes []byte, into map[[dedupe.HashSize]byte]store.Owner) error
	// CountHashes and ScanHashes say how many hashes of a shard are stored, and which. A hash may come more than once.
	CountHashes(ctx context.Context, shard, shards int) (uint64, error)
	ScanHashes(ctx context.Context, shard, shards int, fn func(hashes []byte) error) error
}

// Partition is what the stage needs of log.Partition: one assignment of a shard.
type Partition interface {
	ID() int
	// Start is the offset that the first Fetch begins at: the committed one.
	Start() int64
	// Fetch waits for records and returns all that are at hand, in order of their offsets. Their values are the
	// caller's.
	Fetch(ctx context.Context) ([]log.Message, error)
	// Commit notes that all records below next are done. Safe for concurrent use with Fetch.
	Commit(next int64)
}

var (
	_ Store     = (*store.DB)(nil)
	_ Partition = (*log.Partition)(nil)

	_ [dedupe.HashSize]byte = [record.HashSize]byte{} // they agree
)

// withDefaults returns c with its gaps filled, or everything that is wrong with it.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New("sink: "+what))
		}
	}
	need(c.Store != nil, "Store is missing")
	need(c.Consume != nil, "Consume is missing")
	need(c.Send != nil, "Send is missing")
	need(c.Shards > 0, "Shards must be the number of partitions of topic verified")
	need(c.MaxPendingBytes >= 0 && c.MaxFlushBytes >= 0 && c.MaxFlushRows >= 0, "a limit is negative")
	if c.MaxPendingBytes == 0 {
		c.MaxPendingBytes = 128 << 20
	}
	if c.MaxFlushBytes == 0 {
		c.MaxFlushBytes = 64 << 20
	}
	if c.MaxFlushRows == 0 {
		c.MaxFlushRows = 200_000
	}
	if c.LeastInsert == 0 {
		c.LeastInsert = 32_768
	}
	if c.FullRecord == 0 {
		c.FullRecord = 750 << 10
	}
	if c.Linger == 0 {
		c.Linger = 250 * time.Millisecond
	}
	if c.RecentRows == 0 {
		c.RecentRows = 1 << 18
	}
	if c.FlushLog == nil {
		c.FlushLog = func(context.Context) error { return nil }
	}
	if c.Backoff == nil {
		c.Backoff = pause.Backoff{First: 50 * time.Millisecond, Most: 5 * time.Second}.After
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 5 * time.Second
	}
	if c.SendTimeout == 0 {
		c.SendTimeout = 5 * time.Second
	}
	if c.Health == nil {
		c.Health = new(Health)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, errors.Join(errs...)
}
