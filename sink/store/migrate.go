package store

// Migrations are the files of schema/, in order of their number. Each is recorded in schema_migrations after its last
// statement. Every statement may be repeated, so a crash in between, or several processes that start at once, do no
// harm. What a released file comes to on one server is never edited: a change is a new file.
//
// On a cluster each statement runs on every server: ON CLUSTER where there is a Keeper, and on connections to all of
// them where there is none. A migration is recorded when it has run everywhere, on each ClickHouse shard, so that a
// server that is up to date needs no other one to start with.
//
// Rejected: a lock around migrations. ClickHouse has none that a crash releases.

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"countersign/internal/pause"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// SchemaNewerError says that a newer countersign migrated this database.
type SchemaNewerError struct {
	Database uint32 // version of the database
	Program  uint32 // newest version that this program knows
}

func (e *SchemaNewerError) Error() string {
	return fmt.Sprintf("the ClickHouse schema has version %d and this program knows up to %d: "+
		"run the newer countersign that made it, or use another database",
		e.Database, e.Program)
}

// schemaFor is what the statements depend on.
type schemaFor struct {
	layout
	retention time.Duration
}

// migration is one file of schema/.
type migration struct {
	version    uint32
	name       string
	statements []string
}

const createMigrations = `CREATE TABLE IF NOT EXISTS {{local "schema_migrations"}}{{onCluster}}
(
    version    UInt32 COMMENT 'number of the file in schema/',
    name       String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = {{engine "ReplacingMergeTree"}}
ORDER BY version;
{{distributed "schema_migrations"}}`

// Migrate brings the schema to this program's version. It may be called by any number of processes at once, and again.
// A database that is further on is left alone, with a *SchemaNewerError.
func (db *DB) Migrate(ctx context.Context) error {
	l, err := db.findLayout(ctx)
	if err != nil {
		return err
	}
	db.found.Store(l)
	if err := db.checkEngines(ctx); err != nil {
		return err
	}
	s := schemaFor{layout: *l, retention: db.cfg.Retention}
	migrations, err := s.migrations()
	if err != nil {
		return err
	}
	current, err := db.schemaVersion(ctx)
	if hasCode(err, chproto.ErrUnknownTable) {
		current, err = 0, db.createMigrations(ctx, s)
	}
	if err != nil {
		return err
	}
	if newest := migrations[len(migrations)-1].version; current > newest {
		return &SchemaNewerError{Database: current, Program: newest}
	}
	if err := db.checkLayout(ctx); err != nil {
		return err
	}
	for _, m := range migrations {
		if m.version <= current {
			continue
		}
		if err := db.apply(ctx, m); err != nil {
			return err
		}
	}
	if err := db.checkOrder(ctx); err != nil {
		return err
	}
	_, err = db.moveState(ctx)
	return err
}

func (db *DB) createMigrations(ctx context.Context, s schemaFor) error {
	create, err := s.render("schema_migrations", createMigrations)
	if err != nil {
		return err
	}
	return db.wrap(ctx, db.everywhere(ctx, statements(create), nil), "create table schema_migrations")
}

func (db *DB) apply(ctx context.Context, m migration) error {
	if err := db.everywhere(ctx, m.statements, nil); err != nil {
		return db.wrap(ctx, err, "migration "+m.name)
	}
	if err := db.record(ctx, m); err != nil {
		return db.wrap(ctx, err, "record migration "+m.name)
	}
	db.cfg.Logger.Info("migrated the ClickHouse schema", "migration", m.name, "version", m.version)
	return nil
}

// record notes on each ClickHouse shard that a migration has run everywhere.
func (db *DB) record(ctx context.Context, m migration) error {
	l := db.layout()
	for i := range l.shards {
		on := ""
		if l.distributed() {
			on = fmt.Sprintf(" SETTINGS insert_shard_id = %d", i+1)
		}
		record := fmt.Sprintf("INSERT INTO schema_migrations (version, name)%s VALUES (%d, %s)", on, m.version, quote(m.name))
		if err := db.retryQuorum(ctx, func() error { return db.exec(ctx, record) }); err != nil {
			return err
		}
	}
	return nil
}

// everywhere runs statements that may be repeated on every server, one server after the other in the cluster's order.
// It calls then, if there is one, with a connection to each; an error of then ends it.
func (db *DB) everywhere(ctx context.Context, statements []string, then func(driver.Conn) error) error {
	hosts := db.layout().hosts
	if len(hosts) == 0 {
		return db.all(ctx, db.writer, statements, then)
	}
	for _, address := range hosts {
		conn, dialer, err := db.connect([]string{address}, 1, insertSilence)
		if err != nil {
			return err
		}
		err = errors.Join(db.all(ctx, conn, statements, then), conn.Close())
		dialer.close()
		if err != nil {
			return fmt.Errorf("server %s: %w", address, err)
		}
	}
	return nil
}

func (db *DB) all(ctx context.Context, conn driver.Conn, statements []string, then func(driver.Conn) error) error {
	for _, statement := range statements {
		if err := db.alter(ctx, conn, statement); err != nil {
			return err
		}
	}
	if then == nil {
		return nil
	}
	return then(conn)
}

// agree has all processes take the same number: that of the first one which comes. check gets it, and says what is
// wrong with it.
//
// The number is the text of a view, because creating a view is the one thing ClickHouse does for the first comer only:
// a row in a table could be written by several. On a cluster the first server's word counts, and the others get no
// other one.
func (db *DB) agree(ctx context.Context, view string, number int64, check func(recorded int64) error) error {
	read := func(conn driver.Conn) error {
		var recorded int64
		err := db.selectOn(ctx, conn, "read "+view, "SELECT shards FROM "+view, func(rows driver.Rows) error { return rows.Scan(&recorded) })
		if err != nil {
			return err
		}
		return check(recorded)
	}
	err := read(db.conn)
	if !hasCode(err, chproto.ErrUnknownTable) {
		return err
	}
	create := fmt.Sprintf("CREATE VIEW IF NOT EXISTS %s%s AS SELECT toInt64(%d) AS shards", view, db.layout().onCluster(), number)
	return db.wrap(ctx, db.everywhere(ctx, []string{create}, read), "record "+view)
}

// alterRetries is how often a statement is repeated that met another process's: over some three seconds.
const alterRetries = 8

// alter runs a statement of a migration. ClickHouse refuses to alter what another process replaces at that moment.
func (db *DB) alter(ctx context.Context, conn driver.Conn, statement string) error {
	wait := pause.Backoff{First: 10 * time.Millisecond, Most: 2 * time.Second}
	for n := 0; ; n++ {
		err := db.execOn(ctx, conn, statement)
		if !hasCode(err, chproto.ErrCannotAssignAlter) || n == alterRetries || pause.For(ctx, wait.After(n)) != nil {
			return err
		}
	}
}

func (db *DB) schemaVersion(ctx context.Context) (version uint32, err error) {
	query := "SELECT max(version) FROM " + db.layout().local("schema_migrations")
	err = db.selectAll(ctx, "read the schema version", query, func(rows driver.Rows) error {
		return rows.Scan(&version)
	})
	return version, err
}

// migrations are all files, filled in and ordered by version.
func (s schemaFor) migrations() ([]migration, error) {
	names, err := fs.Glob(schemaFiles, "schema/*.sql")
	if err != nil {
		return nil, fmt.Errorf("clickhouse: list migrations: %w", err)
	}
	var all []migration
	for _, name := range names {
		text, err := schemaFiles.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("clickhouse: read migration: %w", err)
		}
		m := migration{name: strings.TrimSuffix(path.Base(name), ".sql")}
		number, _, _ := strings.Cut(m.name, "_")
		version, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("clickhouse: migration %s has no number: %w", name, err)
		}
		m.version = uint32(version)
		rendered, err := s.render(m.name, string(text))
		if err != nil {
			return nil, err
		}
		m.statements = statements(rendered)
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b migration) int { return cmp.Compare(a.version, b.version) })
	return all, nil
}

// render fills in what depends on where the tables lie.
func (s schemaFor) render(name, text string) (string, error) {
	t, err := template.New(name).Option("missingkey=error").Funcs(template.FuncMap{
		"local":            s.local,
		"tables":           s.tables,
		"distributed":      s.distribute,
		"onCluster":        s.onCluster,
		"engine":           s.engine,
		"retentionSeconds": func() int64 { return int64(s.retention / time.Second) },
	}).Parse(text)
	if err != nil {
		return "", fmt.Errorf("clickhouse: migration %s: %w", name, err)
	}
	var b strings.Builder
	if err := t.Execute(&b, nil); err != nil {
		return "", fmt.Errorf("clickhouse: migration %s: %w", name, err)
	}
	return b.String(), nil
}

// statements splits a file at semicolons that end a line, and leaves comments out.
func statements(text string) []string {
	var all []string
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "--") {
			continue
		}
		b.WriteString(line)
		if statement, ends := strings.CutSuffix(strings.TrimSpace(b.String()), ";"); ends {
			all = append(all, statement)
			b.Reset()
		}
	}
	return all
}

// quote writes s as a string literal of ClickHouse.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
