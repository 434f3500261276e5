package store

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"countersign/sink/store/engine"
	"countersign/sink/store/engine/enginetest"
)

// The tests run against one embedded engine, or against the server that CLICKHOUSE_URL names; each test that writes
// has a database of its own there.
func TestMain(m *testing.M) {
	enginetest.Begin(map[string]func([]string) int{
		engine.ChildArg: engine.Main,
		movesRows:       func(args []string) int { return moveRowsOf(args[0]) },
	})
	os.Exit(runTests(m))
}

// server is the URL of the ClickHouse under test; set by TestMain before any test runs.
var server string

func runTests(m *testing.M) int {
	if server = os.Getenv("CLICKHOUSE_URL"); server != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "countersign-engine-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := engine.Start(ctx, engine.Config{Dir: dir, Grants: []string{"ALL ON *.*"}, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		fmt.Fprintln(os.Stderr, "these tests need the embedded engine:", err)
		return 1
	}
	server = e.URL()
	code := m.Run()
	if err := e.Close(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

var databases atomic.Int64

// newDatabase makes an empty database and returns its URL.
func newDatabase(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), databases.Add(1))
	admin := open(t, Config{URL: server})
	if err := admin.conn.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		admin := openFor(context.Background(), t, Config{URL: server})
		defer admin.Close()
		if err := admin.conn.Exec(context.Background(), "DROP DATABASE "+name+" SYNC"); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

func open(t testing.TB, cfg Config) *DB {
	t.Helper()
	db := openFor(t.Context(), t, cfg)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func openFor(ctx context.Context, t testing.TB, cfg Config) *DB {
	t.Helper()
	db, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// newDB is an empty, migrated store.
func newDB(t testing.TB) *DB {
	t.Helper()
	db := open(t, Config{URL: newDatabase(t)})
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

func contains(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}
