package store

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMigrateMayBeRunByManyAtOnceAndAgain(t *testing.T) {
	url := newDatabase(t)
	var wg sync.WaitGroup
	for range 6 {
		db := open(t, Config{URL: url})
		wg.Go(func() {
			if err := db.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	db := open(t, Config{URL: url})
	if err := db.Migrate(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMigrateRefusesANewerSchema(t *testing.T) {
	db := newDB(t)
	if err := db.conn.Exec(t.Context(), "INSERT INTO schema_migrations (version, name) VALUES (99, 'from the future')"); err != nil {
		t.Fatal(err)
	}
	err := db.Migrate(t.Context())
	var newer *SchemaNewerError
	if !errors.As(err, &newer) || newer.Database != 99 || newer.Program == 0 {
		t.Fatal(err)
	}
	contains(t, err, "version 99", fmt.Sprint(newer.Program), "run the newer countersign")
}

func TestShardsAreFixedByTheFirstStarter(t *testing.T) {
	url := newDatabase(t)
	results := make([]error, 8)
	var wg sync.WaitGroup
	for i := range results {
		db := open(t, Config{URL: url})
		wg.Go(func() { results[i] = db.CheckShards(t.Context(), 10+i) })
	}
	wg.Wait()
	accepted := 0
	for i, err := range results {
		var other *ShardsError
		switch {
		case err == nil:
			accepted++
		case !errors.As(err, &other) || other.Now != 10+i || other.Recorded == other.Now:
			t.Error(err)
		default:
			contains(t, err, fmt.Sprintf("%d partitions", 10+i), fmt.Sprintf("%d shards", other.Recorded))
		}
	}
	if accepted != 1 {
		t.Errorf("%d different numbers of shards were accepted", accepted)
	}
}

// What a replicated cluster gets can't be tried here; the golden files are what was reviewed.
func TestStatementsForACluster(t *testing.T) {
	db := open(t, Config{URL: server})
	for name, shards := range map[string]int{"cluster.sql": 1, "shards.sql": 3} {
		s := schemaFor{layout{cluster: "sign'ers", database: "files", shards: shards, replicated: true}, 48 * time.Hour}
		create, err := s.render("schema_migrations", createMigrations)
		if err != nil {
			t.Fatal(err)
		}
		migrations, err := s.migrations()
		if err != nil {
			t.Fatal(err)
		}
		all := statements(create)
		for _, m := range migrations {
			all = append(all, m.statements...)
		}
		for _, statement := range all {
			var formatted string
			if err := db.conn.QueryRow(t.Context(), "SELECT formatQuery("+quote(statement)+")").Scan(&formatted); err != nil {
				t.Errorf("ClickHouse can't parse it: %v", err)
			}
		}
		golden(t, name, strings.Join(all, ";\n\n")+";\n")
	}
}

func TestTheURLsSettingsWinOnACluster(t *testing.T) {
	settings := clusterSettings(clickhouse.Settings{"insert_quorum": 3}, 8*time.Second)
	for setting, want := range map[string]any{"insert_quorum": 3, "insert_quorum_parallel": 0, "select_sequential_consistency": 1, "receive_timeout": 6} {
		if got := settings[setting]; got != want {
			t.Errorf("%s is %v, want %v", setting, got, want)
		}
	}
}

func TestUnknownClusterIsRefused(t *testing.T) {
	db := open(t, Config{URL: newDatabase(t), Cluster: "nowhere"})
	contains(t, db.Migrate(t.Context()), "nowhere", "remote_servers")
}

// An insert that meets another's open quorum waits for its turn.
func TestQuorumCollisionsAreRetried(t *testing.T) {
	db := open(t, Config{URL: server})
	collision := &clickhouse.Exception{Code: int32(chproto.ErrUnsatisfiedQuorumForPreviousWrite)}
	calls := 0
	err := db.retryQuorum(t.Context(), func() error {
		if calls++; calls < 4 {
			return collision
		}
		return nil
	})
	if err != nil || calls != 4 {
		t.Error(calls, err)
	}
	if err := db.retryQuorum(t.Context(), func() error { return errors.ErrUnsupported }); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; look at the difference, and run the test with -update if it is meant:\n%s", path, got)
	}
}
