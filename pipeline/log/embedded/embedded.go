package embedded

// The broker's life: start, and stop in the reverse order. There is one broker, so acks=all means one copy, in the
// page cache. That copy survives the end of the process, by kill -9 too, but not the end of the machine: Flush is the
// barrier against that.
//
// What kfake does that matters here, read in its source and checked by tests:
//   - Records are on disk only: segment files in Kafka's batch format, read for each fetch. In memory are 72 bytes
//     for each record batch, for as long as the batch is kept, and an open file for each segment that was read.
//   - All requests pass one goroutine. A fetch with nothing to return is woken by the produce request that brings
//     something.
//   - kfake never syncs by itself (its option SyncWrites would, at every batch). flush.go does.
//   - kfake's own retention can empty a partition, and an empty partition begins at offset 0 again after a restart,
//     below what its groups have committed: records would be skipped. So kfake's retention is switched off, and
//     retention.go does it.
//   - At start kfake reads whole segments, all partitions at once, and after a kill holds all of them in memory until
//     it has read the last. restore.go bounds that.
//   - A clean stop keeps the members of groups for the next start, which would wait for them. restore.go forgets them.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"

	"countersign/internal/filelock"
)

const (
	// segmentBytes is the size of a full segment. Loading takes up to this much memory for each partition with
	// records, and the process keeps a file open for each segment that was read.
	segmentBytes = 8 << 20
	never        = 10 * 365 * 24 * time.Hour // kfake multiplies it to nanoseconds: much more overflows
	lockFile     = "LOCK"                    // in the data directory; locked, not just there, while a process uses it
)

// ErrClosed says that the broker was closed before the call.
var ErrClosed = errors.New("closed")

// Config says where the broker keeps its log.
type Config struct {
	// Dir is the data directory, made if missing. One process at a time may use it.
	Dir string
	// Address (host:port) is where to listen with TCP, for tests in which several processes share the broker. Port 0
	// is a free one, which Brokers tells. Empty: the broker is reached by Dial alone, and by this process alone.
	Address string
	// MinFreeDisk is how many bytes must be free on the file system of Dir for Room to be nil. 0: 1 GiB, or a fiftieth
	// of the file system if that is less. Negative: none.
	MinFreeDisk int64
	// LogMax is how many bytes of consumed records the log may keep: above it, the oldest are deleted before their
	// retention is over. Some 70 MB of each partition are kept all the same, and so is whatever wasn't consumed. 0: 32
	// GiB, or half of the file system if that is less.
	LogMax int64
	// Registerer gets the log's metrics. nil: not registered.
	Registerer prometheus.Registerer
	// Logger gets what an operator should know. nil: slog.Default().
	Logger *slog.Logger
	// Clock is what retention compares record times with. nil: time.Now.
	Clock func() time.Time
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return c
}

// Broker is a running broker. Its methods are safe for concurrent use.
type Broker struct {
	lock      *os.File
	cluster   *kfake.Cluster // nil until it has started
	addresses []string
	memory    *memoryListener // nil: the broker listens on TCP
	flusher   *flusher
	room      *room
	failure   *failure

	stopLoops context.CancelFunc // nil until the loops run
	wg        sync.WaitGroup     // the loops: retention, room and the disk

	closing sync.Once
	closed  error // what Close returns; written within closing
}

// Start loads the data directory and starts the broker. A directory that cannot be read, or is in use, gives an error
// that names the directory and says what to do. ctx bounds the start alone.
func Start(ctx context.Context, cfg Config) (_ *Broker, err error) {
	cfg = cfg.withDefaults()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("embedded broker: create the data directory: %w; "+
			"choose one that this user may write to", err)
	}
	b := &Broker{room: newRoom(cfg), failure: newFailure()}
	if b.lock, err = lock(cfg.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	if err := errors.Join(keepPrivate(cfg.Dir), restore(cfg.Dir, cfg.Logger)); err != nil {
		return nil, unreadable(cfg.Dir, err)
	}
	if cfg.Address == "" {
		b.memory = newMemoryListener()
	}
	if b.cluster, err = b.startCluster(cfg); err != nil {
		return nil, unreadable(cfg.Dir, err)
	}
	debug.FreeOSMemory() // loading has read the whole log
	b.addresses, b.flusher = b.cluster.ListenAddrs(), newFlusher(cfg.Dir, b.failure)
	r := &retention{admin: admin{b.cluster, b.dialSelf}, sizer: newSizer(cfg), clock: cfg.Clock, logger: cfg.Logger}
	if err := r.clampCommits(ctx); err != nil {
		return nil, fmt.Errorf("embedded broker: compare committed offsets with the log in %s: %w", cfg.Dir, err)
	}
	b.room.look()
	looping, stop := context.WithCancel(context.Background())
	b.stopLoops = stop
	b.wg.Go(func() { r.run(looping) })
	b.wg.Go(func() { b.room.watch(looping) })
	b.wg.Go(func() { b.watchDisk(looping, b.lock.Name(), touch) })
	return b, nil
}

// keepPrivate takes the data directory, and what earlier versions left in it, away from other users. What kfake makes
// later is as the process's umask has it (serve sets 077), below a directory that nobody else may enter.
func keepPrivate(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		const others = 0o077
		if !info.IsDir() && !info.Mode().IsRegular() || info.Mode().Perm()&others == 0 {
			return nil
		}
		return os.Chmod(path, info.Mode().Perm()&^others)
	})
}

// lock locks the data directory for this process until the returned file is closed, or the process has ended in any
// way.
func lock(dir string) (*os.File, error) {
	f, err := filelock.Try(filepath.Join(dir, lockFile))
	if errors.Is(err, filelock.ErrLocked) {
		return nil, fmt.Errorf("embedded broker: data directory %s is in use by another process: "+
			"stop that one, or give this one a directory of its own", dir)
	}
	if err != nil {
		return nil, unreadable(dir, err)
	}
	return f, nil
}

// startCluster starts kfake, which panics on some of what it cannot read.
func (b *Broker) startCluster(cfg Config) (cluster *kfake.Cluster, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("load: %v", r)
		}
	}()
	return kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.ClusterID("countersign-embedded"),
		kfake.DataDir(cfg.Dir),
		kfake.ListenFn(func(string, string) (net.Listener, error) {
			l, err := b.listen(cfg.Address)
			return framedListener{l}, err
		}),
		kfake.WithLogger(brokerLogger{cfg.Dir, cfg.Logger, b.room, b.failure}),
		kfake.BrokerConfigs(map[string]string{
			"log.segment.bytes":         strconv.Itoa(segmentBytes),
			"log.cleaner.backoff.ms":    strconv.FormatInt(never.Milliseconds(), 10),
			"offsets.retention.minutes": strconv.Itoa(int(never.Minutes())),
		}),
	)
}

func unreadable(dir string, err error) error {
	return fmt.Errorf("embedded broker: data directory %s cannot be read: %w; mend its permissions or restore it from "+
		"a backup, or move it away to start with an empty log (uploads that were accepted but not yet processed are "+
		"lost then)", dir, err)
}

// listen listens in memory, or with TCP at the address.
func (b *Broker) listen(address string) (net.Listener, error) {
	if b.memory != nil {
		return b.memory, nil
	}
	return net.Listen("tcp", address)
}

// Brokers returns the one address (host:port) of the broker, in the form in which a client wants addresses. Without
// Config.Address it is a name that only Dial knows.
func (b *Broker) Brokers() []string { return b.addresses }

// Dial connects to the broker: it is the Dial of a client's configuration. It fails after Close. Without Config.Address
// there is no other way to the broker, and network and address don't matter.
func (b *Broker) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if b.memory != nil {
		return b.memory.dial(ctx)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// dialSelf is Dial for the broker's own questions.
func (b *Broker) dialSelf(ctx context.Context) (net.Conn, error) {
	return b.Dial(ctx, "tcp", b.addresses[0])
}

// Flush returns nil when everything that was acknowledged before the call is on disk. Concurrent calls share a round of
// fsync. After a failed fsync every call fails, and Failed is closed. Flush returns ErrClosed after Close, and ctx's
// error when ctx ends first.
func (b *Broker) Flush(ctx context.Context) error { return b.flusher.flush(ctx) }

// Close stops the broker, writes its files to disk and releases the directory. It reports what could not be written.
// Clients should be closed before.
func (b *Broker) Close() error {
	b.closing.Do(func() {
		if b.stopLoops != nil {
			b.stopLoops()
		}
		b.wg.Wait()
		var errs []error
		if b.cluster != nil {
			b.cluster.Close()
			errs = append(errs, b.flusher.close())
		}
		errs = append(errs, b.lock.Close()) // the next process may have the directory
		b.closed = errors.Join(errs...)
	})
	return b.closed
}
