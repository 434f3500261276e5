package store

// Opening and closing the store, and the query that all reads are made with.

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"sync/atomic"
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
	// ClickHouse. With socket=PATH connections are asked for at that Unix socket instead of dialled, as the embedded
	// engine's are (package fdpass); the host only stands in messages then. The database must exist. Compression is off
	// unless asked for: nearly all bytes are random.
	URL string
	// TLS has roots and the client's certificate for a URL with secure=true. Default: the system's roots, no certificate.
	TLS *tls.Config
	// Cluster, if set, names the cluster of the URL's servers (system.clusters), whose ClickHouse shards divide the
	// rows among them. Where the servers have a Keeper, tables are Replicated and made ON CLUSTER, inserts wait for a
	// quorum, and reads see every confirmed insert. Where they have none, each shard has one replica, and Migrate
	// connects to each server at the host and port that system.clusters has, as the URL's user.
	Cluster string
	// ReadOnly is for Print: one connection, without the settings of inserts, which a user who may only read can't
	// send.
	ReadOnly bool
	// Retention is how long batch results are kept, counted from the acceptance of their upload. It is written into the
	// schema by the first migration, and applied to every read. Default DefaultRetention.
	Retention time.Duration
	// Logger receives what the migrations have to say. Default: nothing is logged.
	Logger *slog.Logger
	// Clock is the time by which results expire. Default time.Now.
	Clock func() time.Time
}

// withDefaults returns c with its gaps filled, or what is wrong with it.
func (c Config) withDefaults() (Config, error) {
	if c.Retention < 0 {
		return c, fmt.Errorf("clickhouse: retention %v is negative", c.Retention)
	}
	if c.Retention == 0 {
		c.Retention = DefaultRetention
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return c, nil
}

// DB is an open store. Its methods may be called concurrently.
type DB struct {
	conn      driver.Conn // for what the stages read
	reads     driver.Conn // for callers who ask: they may be any number, and no stage waits behind them
	writer    driver.Conn // for inserts and migrations: it bears silence (silence.go)
	probe     driver.Conn // for questions whether the server is there: it waits for nobody
	dialers   []*dialer   // of these four
	cfg       Config
	options   clickhouse.Options // of a connection, as the URL and cfg have them
	database  string
	addresses []string // for messages
	socket    string   // that passes connections; empty: addresses are dialled
	silent    *silentAddresses
	moveRows  uint64 // that move at once (move.go)

	found atomic.Pointer[layout] // where the tables lie; nil until Migrate has found that

	moved atomic.Bool // all rows of version 1 have moved: nobody needs to look for them where they were
}

// Open checks cfg and prepares connections without making any: a ClickHouse that is away shows in the first call that
// needs it, as ErrUnavailable. The caller closes the DB after its last call returned.
func Open(_ context.Context, cfg Config) (*DB, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	opts, err := clickhouse.ParseDSN(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("clickhouse URL: %w; it should look like clickhouse://user:password@host:9000/database", err)
	}
	if cfg.TLS != nil {
		if opts.TLS == nil {
			return nil, errors.New("clickhouse URL: it lacks secure=true, and there are files for TLS; " +
				"add it, and give the port for TLS, which usually is 9440")
		}
		skip := opts.TLS.InsecureSkipVerify // skip_verify=true
		opts.TLS = cfg.TLS.Clone()
		opts.TLS.InsecureSkipVerify = skip
	}
	fillOptions(opts, cfg)
	socket, err := socketOf(opts)
	if err != nil {
		return nil, err
	}
	db := &DB{
		cfg: cfg, options: *opts, database: cmp.Or(opts.Auth.Database, "default"), addresses: opts.Addr, moveRows: rowsOfRange,
		socket: socket, silent: new(silentAddresses),
	}
	if socket != "" {
		db.addresses = []string{socket}
	}
	for _, pool := range []struct {
		conn    *driver.Conn
		conns   int // 0: as the URL has it
		silence time.Duration
	}{
		{&db.conn, 0, readSilence}, {&db.reads, readConns, readSilence},
		{&db.writer, 0, insertSilence}, {&db.probe, probeConns, probeSilence},
	} {
		conn, dialer, err := db.connect(opts.Addr, pool.conns, pool.silence)
		if err != nil {
			return nil, err
		}
		*pool.conn, db.dialers = conn, append(db.dialers, dialer)
	}
	return db, nil
}

// connect prepares connections to some addresses, at most so many, or as many as the URL allows where that is 0.
// Whoever closes conn closes the dialer after it.
func (db *DB) connect(addresses []string, most int, silence time.Duration) (conn driver.Conn, d *dialer, err error) {
	opts := db.options
	opts.Addr, opts.Settings = addresses, db.settings(silence)
	if most > 0 {
		opts.MaxOpenConns, opts.MaxIdleConns = most, most
	}
	d = &dialer{
		timeout: opts.DialTimeout, tls: opts.TLS, socket: db.socket, silent: db.silent, silence: silence, open: make(map[*gentleConn]struct{}),
	}
	d.use(&opts)
	if conn, err = clickhouse.Open(&opts); err != nil {
		return nil, nil, fmt.Errorf("clickhouse URL: %w", err)
	}
	return conn, d, nil
}

// settings are those of a connection that bears so much silence.
func (db *DB) settings(silence time.Duration) clickhouse.Settings {
	if db.cfg.Cluster == "" {
		return db.options.Settings
	}
	return clusterSettings(db.options.Settings, silence)
}

// probeConns is how many questions whether the server is there may be under way.
const probeConns = 2

// where names the server in messages.
func (db *DB) where() string { return strings.Join(db.addresses, ",") }

// readConns is how many reads that callers cause are under way at most. Further ones wait for a connection, up to the
// driver's dial_timeout. The URL's max_open_conns is about the stages' connections.
const readConns = 8

// fillOptions fills what the URL leaves open. What the URL says wins.
func fillOptions(opts *clickhouse.Options, cfg Config) {
	settings := clickhouse.Settings{
		"async_insert":       0, // an insert that returned is stored; batching is the callers' work
		"optimize_on_insert": 0, // an insert holds no key twice: leave merging to merges
		// A record may name any times (I7). With a limit, an insert of rows of more than a hundred days would be
		// refused for ever, and everything behind it would wait.
		"max_partitions_per_insert_block": 0,
	}
	if cfg.ReadOnly {
		clear(settings)
		opts.MaxOpenConns, opts.MaxIdleConns = 1, 1
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

// socketOf takes the parameter socket out of the options: it is no setting of ClickHouse.
func socketOf(opts *clickhouse.Options) (string, error) {
	value, ok := opts.Settings[socketParameter]
	if !ok {
		return "", nil
	}
	delete(opts.Settings, socketParameter)
	path, ok := value.(string)
	if !ok || !filepath.IsAbs(path) {
		return "", fmt.Errorf("clickhouse URL: %s=%v: name an absolute path", socketParameter, value)
	}
	return path, nil
}

// socketParameter is the URL's parameter that names a Unix socket.
const socketParameter = "socket"

// Close releases the connections, and waits until they are closed. It is called after the last call returned.
func (db *DB) Close() error {
	err := errors.Join(db.conn.Close(), db.reads.Close(), db.writer.Close(), db.probe.Close())
	for _, d := range db.dialers {
		d.close()
	}
	if err != nil {
		return fmt.Errorf("clickhouse: close: %w", err)
	}
	return nil
}

// Exec runs a statement that gives no rows, for those who prepare a database for a measurement or a test.
func (db *DB) Exec(ctx context.Context, statement string) error {
	return db.wrap(ctx, db.exec(ctx, statement), "run the statement")
}

// Select runs a query and calls row for each row with what scans it, for those who measure a database.
func (db *DB) Select(ctx context.Context, query string, row func(scan func(into ...any) error) error) error {
	return db.selectAll(ctx, "run the query", query, func(rows driver.Rows) error { return row(rows.Scan) })
}

// exec runs a statement that may take a while without a sign of life. Its errors are the driver's.
func (db *DB) exec(ctx context.Context, statement string) error {
	return db.execOn(ctx, db.writer, statement)
}

func (db *DB) execOn(ctx context.Context, conn driver.Conn, statement string) error {
	return db.watched(ctx, func(ctx context.Context) error { return conn.Exec(ctx, statement) })
}

// selectAll runs a query of a stage and calls scan for each row. An error of scan ends the query early and is returned,
// wrapped.
func (db *DB) selectAll(ctx context.Context, what, query string, scan func(driver.Rows) error) error {
	return db.selectOn(ctx, db.conn, what, query, scan)
}

// readAll is selectAll for what callers ask.
func (db *DB) readAll(ctx context.Context, what, query string, scan func(driver.Rows) error) error {
	return db.selectOn(ctx, db.reads, what, query, scan)
}

func (db *DB) selectOn(ctx context.Context, conn driver.Conn, what, query string, scan func(driver.Rows) error) error {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := conn.Query(running, query)
	if silent, ok := errors.AsType[*silentError](err); ok && silent.idle && running.Err() == nil {
		rows, err = conn.Query(running, query)
	}
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
