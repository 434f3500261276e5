package store

// Migrations are the files of schema/, in order of their number. Each is recorded in schema_migrations after its last
// statement. Every statement may be repeated, so a crash in between, or several processes that start at once, do no
// harm. A released file is never edited: a change is a new file.
//
// Rejected: a lock around migrations. ClickHouse has none that a crash releases.

import (
	"cmp"
	"context"
	"embed"
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
	cluster   string
	retention time.Duration
}

// migration is one file of schema/.
type migration struct {
	version    uint32
	name       string
	statements []string
}

const createMigrations = `CREATE TABLE IF NOT EXISTS schema_migrations{{onCluster}}
(
    version    UInt32 COMMENT 'number of the file in schema/',
    name       String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = {{engine "ReplacingMergeTree"}}
ORDER BY version`

// Migrate brings the schema to this program's version. It may be called by any number of processes at once, and again.
// A database that is further on is left alone, with a *SchemaNewerError.
func (db *DB) Migrate(ctx context.Context) error {
	s := schemaFor{cluster: db.cfg.Cluster, retention: db.cfg.Retention}
	migrations, err := s.migrations()
	if err != nil {
		return err
	}
	if err := db.checkCluster(ctx); err != nil {
		return err
	}
	create, err := s.render("schema_migrations", createMigrations)
	if err != nil {
		return err
	}
	if err := db.exec(ctx, create); err != nil {
		return db.wrap(ctx, err, "create table schema_migrations")
	}
	current, err := db.schemaVersion(ctx)
	if err != nil {
		return err
	}
	if newest := migrations[len(migrations)-1].version; current > newest {
		return &SchemaNewerError{Database: current, Program: newest}
	}
	for _, m := range migrations {
		if m.version <= current {
			continue
		}
		if err := db.apply(ctx, m); err != nil {
			return err
		}
	}
	_, err = db.moveState(ctx)
	return err
}

func (db *DB) apply(ctx context.Context, m migration) error {
	for _, statement := range m.statements {
		if err := db.alter(ctx, statement); err != nil {
			return db.wrap(ctx, err, "migration "+m.name)
		}
	}
	record := fmt.Sprintf("INSERT INTO schema_migrations (version, name) VALUES (%d, %s)", m.version, quote(m.name))
	if err := db.retryQuorum(ctx, func() error { return db.exec(ctx, record) }); err != nil {
		return db.wrap(ctx, err, "record migration "+m.name)
	}
	db.cfg.Logger.Info("migrated the ClickHouse schema", "migration", m.name, "version", m.version)
	return nil
}

// alterRetries is how often a statement is repeated that met another process's: over some three seconds.
const alterRetries = 8

// alter runs a statement of a migration. ClickHouse refuses to alter what another process replaces at that moment.
func (db *DB) alter(ctx context.Context, statement string) error {
	wait := pause.Backoff{First: 10 * time.Millisecond, Most: 2 * time.Second}
	for n := 0; ; n++ {
		err := db.exec(ctx, statement)
		if !hasCode(err, chproto.ErrCannotAssignAlter) || n == alterRetries || pause.For(ctx, wait.After(n)) != nil {
			return err
		}
	}
}

func (db *DB) schemaVersion(ctx context.Context) (version uint32, err error) {
	const query = "SELECT max(version) FROM schema_migrations"
	err = db.selectAll(ctx, "read the schema version", query, func(rows driver.Rows) error {
		return rows.Scan(&version)
	})
	return version, err
}

// checkCluster refuses a cluster that would spread the hashes over several shards.
func (db *DB) checkCluster(ctx context.Context) error {
	if db.cfg.Cluster == "" {
		return nil
	}
	var shards uint64
	query := "SELECT uniqExact(shard_num) FROM system.clusters WHERE cluster = " + quote(db.cfg.Cluster)
	err := db.selectAll(ctx, "look up cluster "+db.cfg.Cluster, query, func(rows driver.Rows) error {
		return rows.Scan(&shards)
	})
	switch {
	case err != nil:
		return err
	case shards == 0:
		return fmt.Errorf("clickhouse: the server knows no cluster %q: check its remote_servers, or the configured name",
			db.cfg.Cluster)
	case shards > 1:
		return fmt.Errorf("clickhouse: cluster %q has %d shards: a hash must be found on every server, "+
			"so use a cluster with one shard and replicas", db.cfg.Cluster, shards)
	}
	return nil
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

// render fills in what differs between a single server and a cluster.
func (s schemaFor) render(name, text string) (string, error) {
	t, err := template.New(name).Option("missingkey=error").Funcs(template.FuncMap{
		"onCluster": func() string {
			if s.cluster == "" {
				return ""
			}
			return " ON CLUSTER " + quote(s.cluster)
		},
		"engine": func(engine string, args ...string) string {
			if s.cluster != "" {
				engine = "Replicated" + engine // path and replica name come from the server's macros
			}
			return engine + "(" + strings.Join(args, ", ") + ")"
		},
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
