package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// The embedded broker: franz-go's kfake with a data directory, on an ephemeral loopback port. One broker, so acks=all is one copy
// in the page cache, which survives the process (kill -9) but not the machine; Flush is the barrier against that.
//
// What kfake does that matters here, read in its source and checked by tests:
//   - Records are on disk only: segment files in Kafka's batch format, read per fetch. In memory is an index of 72 bytes a batch
//     for as long as retention keeps it, and an open file a segment that was read.
//   - All requests pass one goroutine. A fetch with nothing to return is woken by the produce that brings something.
//   - It never syncs by itself (SyncWrites would, at every batch). See flush.go.
//   - Its own retention can empty a partition, and an empty partition begins at offset 0 again after a restart, below what its
//     groups have committed: records would be skipped. So it is switched off, and retention.go does it.
//   - At start it reads whole segments, all partitions at once, and after a kill holds all of them until it is done. restore.go
//     bounds that.
//   - A clean stop keeps group members for the next start, where they would be waited for. restore.go forgets them.

const (
	// Loading takes up to this much memory for each partition with records; the log takes a file, open once read, for each.
	segmentBytes    = 8 << 20
	never           = 10 * 365 * 24 * time.Hour // kfake multiplies it to nanoseconds: much more overflows
	retentionPeriod = 30 * time.Second          // between looks at what may be deleted
)

// ErrClosed says that the broker was closed before the call.
var ErrClosed = errors.New("closed")

// EmbeddedConfig says where the broker keeps its log.
type EmbeddedConfig struct {
	// Dir is the data directory, made if missing. One process at a time may use it.
	Dir string
	// Logger gets what an operator should know. nil: slog.Default().
	Logger *slog.Logger
	// Now is what retention compares record times with. nil: time.Now.
	Now func() time.Time
	// Address (host:port) is where to listen. Empty: an ephemeral port on loopback.
	Address string
}

// Embedded is a running broker.
type Embedded struct {
	dir     string
	log     *slog.Logger
	now     func() time.Time
	cluster *kfake.Cluster
	brokers []string
	lock    *os.File
	flusher *flusher
	admin   admin

	cancel context.CancelFunc
	wg     sync.WaitGroup // the retention loop
	once   sync.Once
	err    error // of Close
}

// StartEmbedded loads the data directory and starts the broker. A directory that can't be read, or is in use, gives an error that
// names it and says what to do.
func StartEmbedded(ctx context.Context, cfg EmbeddedConfig) (_ *Embedded, err error) {
	e := &Embedded{dir: cfg.Dir, log: cfg.Logger, now: cfg.Now}
	if e.log == nil {
		e.log = slog.Default()
	}
	if e.now == nil {
		e.now = time.Now
	}
	if err := os.MkdirAll(e.dir, 0o755); err != nil {
		return nil, fmt.Errorf("embedded broker: create the data directory: %w; choose one that this user may write to", err)
	}
	if e.lock, err = lockDir(e.dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	if err := restore(e.dir, e.log); err != nil {
		return nil, unreadable(e.dir, err)
	}
	if e.cluster, err = startCluster(cfg, e.log); err != nil {
		return nil, unreadable(e.dir, err)
	}
	debug.FreeOSMemory() // loading has read the whole log
	e.brokers = e.cluster.ListenAddrs()
	e.flusher = newFlusher(e.dir)
	e.admin = admin{e.cluster, e.brokers[0]}
	if err := clampCommits(ctx, e.admin, e.log); err != nil {
		return nil, fmt.Errorf("embedded broker: compare committed offsets with the log in %s: %w", e.dir, err)
	}
	loopCtx, cancel := context.WithCancel(context.Background())
	e.cancel = cancel
	e.wg.Go(func() { e.retainLoop(loopCtx) })
	return e, nil
}

// startCluster starts kfake, which panics on some of what it can't read.
func startCluster(cfg EmbeddedConfig, log *slog.Logger) (cluster *kfake.Cluster, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("load: %v", r)
		}
	}()
	return kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.ClusterID("countersign-embedded"),
		kfake.DataDir(cfg.Dir),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			l, err := net.Listen(network, cmp.Or(cfg.Address, "127.0.0.1:0"))
			return framedListener{l}, err
		}),
		kfake.WithLogger(brokerLog{log}),
		kfake.BrokerConfigs(map[string]string{
			"log.segment.bytes":         strconv.Itoa(segmentBytes),
			"log.cleaner.backoff.ms":    strconv.FormatInt(never.Milliseconds(), 10),
			"offsets.retention.minutes": strconv.Itoa(int(never.Minutes())),
		}),
	)
}

func unreadable(dir string, err error) error {
	return fmt.Errorf("embedded broker: data directory %s cannot be read: %w; mend its permissions or restore it from a backup, "+
		"or move it away to start with an empty log (uploads that were accepted but not yet processed are lost then)", dir, err)
}

// Brokers returns the address to give to Open.
func (e *Embedded) Brokers() []string { return e.brokers }

// Flush returns when everything that was acknowledged before the call is on disk. Concurrent calls share a round of fsync. After
// a failed fsync every call fails: the kernel may have dropped what it couldn't write, so only a restart, which reads the files
// again, knows what is there.
func (e *Embedded) Flush(ctx context.Context) error { return e.flusher.Flush(ctx) }

// Close stops the broker, flushes its files and releases the directory. Clients should be closed before.
func (e *Embedded) Close() error {
	e.once.Do(func() {
		if e.cancel != nil {
			e.cancel()
		}
		e.wg.Wait()
		var errs []error
		if e.cluster != nil {
			e.cluster.Close()
			errs = append(errs, e.flusher.close())
		}
		errs = append(errs, e.lock.Close()) // releases it
		e.err = errors.Join(errs...)
	})
	return e.err
}

// brokerLog is kfake's logger.
type brokerLog struct{ log *slog.Logger }

func (l brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case kfake.LogLevelError:
		to = slog.LevelError
	case kfake.LogLevelWarn:
		to = slog.LevelWarn
	}
	if l.log.Enabled(context.Background(), to) {
		l.log.Log(context.Background(), to, "embedded broker: "+fmt.Sprintf(format, args...))
	}
}

// lockFile is held, not just there, while a process uses the directory: the kernel lets go of it however the process ends.
const lockFile = "LOCK"

func lockPath(dir string) string { return filepath.Join(dir, lockFile) }
