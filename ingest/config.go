package ingest

// Everything that can be set, and what this package needs from the rest of the program.

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"countersign/sink/store"
)

// Config is the manual of a [Server]. Zero values mean the default that each field states; fields without one are required.
type Config struct {
	// Listen is where Run listens, as in net.Listen("tcp", Listen). Default ":8080".
	Listen string
	// TLSCert and TLSKey name PEM files: with both set, the API is HTTPS (HTTP/1.1; HTTP/2 is not offered). They are read
	// again when they change; a pair that doesn't load leaves the previous one in use.
	TLSCert, TLSKey string

	// Log takes the uploads and brings back events. See KafkaLog.
	Log Log
	// UploadPartitions is the number of partitions of topic uploads.
	UploadPartitions int
	// Store answers polls. *store.DB is one.
	Store Store
	// Chains gives out certificates. Default: Store, if it is one.
	Chains Chains

	// MaxBody is the most bytes in a request body, as sent and as decoded. Default 512 MiB.
	MaxBody int64
	// MaxPairs is the most pairs in one upload. Default 1,000,000.
	MaxPairs int
	// MaxSyncPairs is the most pairs in one synchronous call. Default 10,000 (contract).
	MaxSyncPairs int
	// MaxElement is the most bytes of one pair in the body. Default 64 KiB.
	MaxElement int
	// MaxUploads is the most bodies open at a time; more get 503. Each takes less than 4 MB beside its connection, a zstd body up to
	// 8 MiB more for its window. Default 64.
	MaxUploads int
	// MaxSync is the most synchronous calls open at a time; more get 503. Default 1024.
	MaxSync int
	// MaxBacklog is how many records may wait in the log, for verifying and for storing together, before new uploads get
	// 503. A record holds up to 1000 pairs. Default 20,000.
	MaxBacklog int64
	// MaxUnrecorded is how many accepted uploads may wait for their row in table uploads, some 150 bytes each, before new ones
	// get 503. Default 65,536.
	MaxUnrecorded int
	// MaxConnections is the most connections open at a time; more are closed after a 503. Each takes MaxHead and some 8 KiB. Default 8192.
	MaxConnections int
	// MaxHead is the most bytes in a request's head. Default 16 KiB.
	MaxHead int
	// WindowBytes is how much of one upload may be on its way to the log, not yet acknowledged; one record always may.
	// Default 1 MiB.
	WindowBytes int

	// StallTimeout is how long a client may send nothing while it owes a head or a body. Default 30 s.
	StallTimeout time.Duration
	// UploadTimeout is how long a body may take from its first byte to its last. Default 10 min.
	UploadTimeout time.Duration
	// SealTimeout is how long writing the seal and the flush may take together. Keep it above the log's own time-out for a
	// record: cut short earlier, a seal's fate is unknown. Default 40 s.
	SealTimeout time.Duration
	// RecordWait is how long the answer to an upload waits for its row in table uploads. Default 1 s.
	RecordWait time.Duration
	// SyncTimeout is how long a synchronous call waits for its result. Default 30 s.
	SyncTimeout time.Duration
	// SyncPoll is how often a synchronous call asks the store when no event came. Default 1 s.
	SyncPoll time.Duration
	// StoreTimeout bounds one read of the store. Default 10 s.
	StoreTimeout time.Duration
	// IdleTimeout is how long a connection may rest between requests. Default 75 s.
	IdleTimeout time.Duration
	// WriteTimeout is how long the client may take to receive a reply. Default 60 s.
	WriteTimeout time.Duration
	// LingerTimeout and LingerBytes bound how long, and how much, a refused body is still received and thrown away after the
	// refusal was sent: closing at once would make the kernel reset the connection, and the client lose the answer
	// (RFC 9112, section 9.6). Defaults 10 s, 64 MiB.
	LingerTimeout time.Duration
	LingerBytes   int64
	// DrainTimeout is how long Run lets open bodies go on once its context is done. Default 10 s.
	DrainTimeout time.Duration
	// Retention is how long results can be asked for. Default 48 h (contract).
	Retention time.Duration

	// Logger gets what an operator should know. Default: nothing is logged.
	Logger *slog.Logger
	// Metrics is where the metrics are registered. Default: nowhere.
	Metrics prometheus.Registerer
	// Now is the clock that dates uploads. Connection deadlines use the machine's. Default time.Now.
	Now func() time.Time
	// Random is where identifiers come from. It is read by several goroutines at a time. Default crypto/rand.Reader.
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
	// Follow calls ready once it will see every later record of topic events, then fn with each, until ctx is done or it fails.
	Follow(ctx context.Context, ready func(), fn func(value []byte)) error
	// Backlog returns how many records wait in the log.
	Backlog(ctx context.Context) (int64, error)
}

// Ack stands for one sent record.
type Ack interface {
	// Wait returns the record's offset once all in-sync replicas hold it.
	Wait(ctx context.Context) (offset int64, err error)
}

// Store is where results are read. Errors that wrap store.ErrUnavailable say that asking again later may help.
type Store interface {
	Upload(ctx context.Context, id uuid.UUID) (store.Upload, bool, error)
	Progress(ctx context.Context, id uuid.UUID) ([]store.BatchProgress, error)
	Batch(ctx context.Context, id uuid.UUID, batch uint32) (store.BatchResult, bool, error)
	Hash(ctx context.Context, hash [32]byte) (store.SignedHash, bool, error)
	InsertUploads(ctx context.Context, rows []store.Upload) error
}

// withDefaults returns c filled in, or every problem it has.
func (c Config) withDefaults() (Config, error) {
	orText(&c.Listen, ":8080")
	for _, n := range []struct {
		field *int
		value int
	}{
		{&c.MaxPairs, 1_000_000}, {&c.MaxSyncPairs, 10_000}, {&c.MaxElement, 64 << 10}, {&c.MaxUploads, 64}, {&c.MaxSync, 1024},
		{&c.MaxUnrecorded, 65_536}, {&c.MaxConnections, 8192}, {&c.MaxHead, 16 << 10}, {&c.WindowBytes, 1 << 20},
	} {
		orNumber(n.field, n.value)
	}
	orNumber(&c.MaxBody, 512<<20)
	orNumber(&c.MaxBacklog, 20_000)
	orNumber(&c.LingerBytes, 64<<20)
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.StallTimeout, 30 * time.Second}, {&c.UploadTimeout, 10 * time.Minute}, {&c.SealTimeout, 40 * time.Second},
		{&c.RecordWait, time.Second}, {&c.SyncTimeout, 30 * time.Second}, {&c.SyncPoll, time.Second},
		{&c.StoreTimeout, 10 * time.Second}, {&c.IdleTimeout, 75 * time.Second}, {&c.WriteTimeout, time.Minute},
		{&c.LingerTimeout, 10 * time.Second}, {&c.DrainTimeout, 10 * time.Second}, {&c.Retention, 48 * time.Hour},
	} {
		orNumber(d.field, d.value)
	}
	if c.Chains == nil {
		c.Chains, _ = c.Store.(Chains)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	return c, c.check()
}

func (c *Config) check() error {
	var errs []error
	if c.Log == nil || c.Store == nil {
		errs = append(errs, errors.New("ingest: Log and Store are required"))
	}
	if c.UploadPartitions < 1 {
		errs = append(errs, fmt.Errorf("ingest: topic uploads has %d partitions: it needs at least one", c.UploadPartitions))
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		errs = append(errs, errors.New("ingest: --tls-cert and --tls-key belong together: give both or neither"))
	}
	if c.MaxPairs > 1<<32-1_000_000 {
		errs = append(errs, fmt.Errorf("ingest: --max-pairs %d is more than positions can count: stay below 4 billion", c.MaxPairs))
	}
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"--max-pairs", int64(c.MaxPairs)}, {"--max-body", c.MaxBody}, {"--max-uploads", int64(c.MaxUploads)},
		{"--max-backlog", c.MaxBacklog}, {"the synchronous calls' limit", int64(c.MaxSync)},
		{"the synchronous pairs' limit", int64(c.MaxSyncPairs)}, {"the stall time-out", int64(c.StallTimeout)},
		{"the upload time-out", int64(c.UploadTimeout)}, {"the window", int64(c.WindowBytes)},
	} {
		if n.value < 0 {
			errs = append(errs, fmt.Errorf("ingest: %s is negative: leave it out for the default", n.name))
		}
	}
	return errors.Join(errs...)
}

func orText(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

func orNumber[T ~int | ~int64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}
