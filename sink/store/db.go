package store

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// DefaultRetention is how long the results of an upload can be asked for (contract: "sent in last 48 hours").
const DefaultRetention = 48 * time.Hour

// Config says which ClickHouse to use, and how.
type Config struct {
	// URL is the driver's data source name: clickhouse://user:password@host:9000,host2:9000/database?secure=true.
	// Further parameters are the driver's (dial_timeout, read_timeout, max_open_conns, compress, ...) or settings of
	// ClickHouse. The database must exist. Compression is off unless asked for: nearly all bytes are random.
	URL string
	// Cluster, if set, makes tables ON CLUSTER with Replicated engines, inserts with a quorum, and reads that see every
	// confirmed insert. The cluster must have one shard (any number of replicas): a hash is looked up on one server.
	Cluster string
	// Retention is how long batch results are kept, counted from the acceptance of their upload. 0: DefaultRetention. It is
	// written into the schema by the first migration, and applied to every read.
	Retention time.Duration
	// Logger receives what the driver and the migrations have to say. nil: nothing is logged.
	Logger *slog.Logger
	// Clock tells the time that expiry is measured with. nil: time.Now.
	Clock func() time.Time
}

// DB is an open store. Its methods may be called concurrently.
type DB struct {
	conn      driver.Conn
	dialer    *dialer
	logger    *slog.Logger
	cluster   string
	retention time.Duration
	now       func() time.Time
	addresses []string // for messages
}

// Open checks cfg and prepares connections without making any: a ClickHouse that is away shows in the first call that
// needs it, as ErrUnavailable. The caller closes the DB after its last call returned.
func Open(_ context.Context, cfg Config) (*DB, error) {
	opts, err := clickhouse.ParseDSN(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("clickhouse URL: %w; it should look like clickhouse://user:password@host:9000/database", err)
	}
	if cfg.Retention < 0 {
		return nil, fmt.Errorf("clickhouse: retention %v is negative", cfg.Retention)
	}
	logger := cfg.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	applyDefaults(opts, cfg.Cluster)
	d := &dialer{timeout: opts.DialTimeout, tls: opts.TLS, open: make(map[*gentleConn]struct{})}
	d.use(opts)
	conn, err := clickhouse.Open(opts)
	if err != nil {
		return nil, fmt.Errorf("clickhouse URL: %w", err)
	}
	db := &DB{conn: conn, dialer: d, logger: logger, cluster: cfg.Cluster, retention: cfg.Retention, now: cfg.Clock, addresses: opts.Addr}
	if db.retention == 0 {
		db.retention = DefaultRetention
	}
	if db.now == nil {
		db.now = time.Now
	}
	return db, nil
}

// applyDefaults fills what the URL leaves open. What the URL says wins.
func applyDefaults(opts *clickhouse.Options, cluster string) {
	settings := clickhouse.Settings{
		"async_insert":       0, // an insert that returned is stored; batching is the callers' work
		"optimize_on_insert": 0, // an insert holds no key twice: leave merging to merges
		// A record may name any times (I7): rows of more than a hundred days would be refused for ever, and what comes after them.
		"max_partitions_per_insert_block": 0,
	}
	if cluster != "" {
		// Lookups that decide ownership must see every confirmed insert. Sequential consistency is only kept for
		// quorum inserts that wait for each other, so those are serial (ClickHouse, settings, select_sequential_consistency).
		settings["insert_quorum"] = "auto"
		settings["insert_quorum_parallel"] = 0
		settings["select_sequential_consistency"] = 1
	}
	maps.Copy(settings, opts.Settings)
	opts.Settings = settings
	if opts.DialTimeout == 0 {
		opts.DialTimeout = 10 * time.Second // also the longest wait for a free connection
	}
	if opts.MaxIdleConns == 0 {
		opts.MaxIdleConns = 8
	}
	if opts.MaxOpenConns == 0 {
		opts.MaxOpenConns = 32
	}
	if opts.MaxCompressionBuffer == 0 {
		opts.MaxCompressionBuffer = 1 << 20 // a connection sends, and keeps, about as much at a time
	}
}

// Close releases the connections, and waits until they are closed. It is called after the last call returned.
func (db *DB) Close() error {
	err := db.conn.Close()
	db.dialer.close()
	if err != nil {
		return fmt.Errorf("clickhouse: close: %w", err)
	}
	return nil
}

// Ping asks whether ClickHouse answers.
func (db *DB) Ping(ctx context.Context) error {
	return db.wrap(ctx, db.conn.Ping(ctx), "ping")
}

// selectAll runs a query and calls scan for each row. An error of scan ends the query early and is returned, wrapped.
func (db *DB) selectAll(ctx context.Context, what, query string, scan func(driver.Rows) error) error {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := db.conn.Query(running, query)
	if err != nil {
		return db.wrap(ctx, err, what)
	}
	for rows.Next() {
		if err := scan(rows); err != nil {
			cancel()         // closing rows reads them to their end: let the server stop first
			_ = rows.Close() // reports the cancellation
			return fmt.Errorf("clickhouse: %s: %w", what, err)
		}
	}
	if err := rows.Close(); err != nil {
		return db.wrap(ctx, err, what)
	}
	return db.wrap(ctx, rows.Err(), what)
}
