package engine

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countersign/sink/store"
)

// denied is in every refusal for want of a grant.
const denied = "Not enough privileges"

// as opens an engine's store as a user, without the settings of inserts.
func as(t *testing.T, u string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{URL: u, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// asDefault is a URL of the user that the engine's own session logs in as.
func asDefault(t *testing.T, e *Engine) string {
	t.Helper()
	u, err := url.Parse(e.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("default", "")
	return u.String()
}

// What each user may do, in a network of the engine's own and in a shared one. Nothing here may end the engine.
func TestUsersMayDoWhatTheyNeedAndNoMore(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("xyzzy"), 0o600); err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{
		"SELECT * FROM file('" + secret + "', 'LineAsString')":                 denied,
		"INSERT INTO FUNCTION file('" + secret + "', 'LineAsString') SELECT 1": "",
		"SELECT file('" + secret + "')":                                        "Permission denied",
		"SELECT file('/proc/1/environ')":                                       "Permission denied",
		"SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')":             denied,
		"SELECT * FROM remote('127.0.0.1', system.one)":                        denied,
		"SELECT * FROM s3('https://bucket.s3.amazonaws.com/x', 'CSV')":         denied,
		"CREATE USER joe":                                "",
		"GRANT SELECT ON default.* TO analyst":           "",
		"CREATE DATABASE other":                          "",
		"CREATE TABLE x (a String) ENGINE = File(CSV)":   "",
		"CREATE TABLE x (a String) ENGINE = URL('u')":    "",
		"CREATE FUNCTION f AS (x) -> x":                  "",
		"BACKUP DATABASE default TO File('x')":           "",
		"SYSTEM SHUTDOWN":                                "",
		"SYSTEM STOP LISTEN TCP":                         "",
		"SELECT * FROM system.users":                     denied,
		"SELECT * FROM mysql('a:1', 'b', 'c', 'd', 'e')": denied,
	}
	for name, shared := range map[string]bool{"own network": false, "shared network": true} {
		t.Run(name, func(t *testing.T) {
			e := startEngine(t, Config{Dir: t.TempDir(), SharedNetwork: shared})
			open(t, e.URL()) // makes the schema, as the service's user
			child := childOf(e)
			expect := func(user string, db *store.DB, statements map[string]string) {
				for statement, want := range statements {
					err := db.Exec(t.Context(), statement)
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("%s, %s: %v, want %q", user, statement, err, want)
					}
				}
			}
			service, analyst, session := as(t, e.URL()), as(t, e.AnalystURL()), as(t, asDefault(t, e))
			expect("service", service, sources)
			expect("analyst", analyst, sources)
			for statement := range sources { // whatever stops it first: the grants, the quota or the size
				expect("default", session, map[string]string{statement: ""})
			}
			expect("default", session, map[string]string{"SELECT version()": "AST is too big", "SHOW TABLES": "", "SELECT * FROM uploads": ""})
			expect("analyst", analyst, map[string]string{
				"SELECT * FROM signatures":                               denied,
				"SELECT * FROM outcomes":                                 denied,
				"INSERT INTO uploads (id) SELECT generateUUIDv4()":       "",
				"TRUNCATE TABLE uploads":                                 "",
				"DROP VIEW v_uploads":                                    "",
				"CREATE TEMPORARY TABLE x (a String)":                    "",
				"SELECT 1 SETTINGS max_memory_usage = 100000000000":      "shouldn't be greater",
				"SELECT 1 SETTINGS max_memory_usage = 0":                 "shouldn't be less",
				"SELECT 1 SETTINGS max_execution_time = 0":               "shouldn't be less",
				"SELECT 1 SETTINGS max_concurrent_queries_for_user = 99": "should not be changed",
				"SELECT 1 SETTINGS readonly = 0":                         "readonly",
				"SELECT number FROM numbers(100000000)":                  "Limit for result exceeded",
			})
			for _, query := range []string{
				"SELECT count() FROM v_signed_hashes", "SELECT * FROM v_uploads", "SELECT * FROM v_batch_results", "SELECT * FROM v_certificates",
				"SELECT * FROM v_outcomes", "SELECT * FROM v_site_daily", "SELECT * FROM v_daily", "SELECT * FROM v_cosigners", "SELECT * FROM v_failures",
				"SELECT table, sum(rows) FROM system.parts WHERE active AND database = currentDatabase() GROUP BY table", "SHOW TABLES",
			} {
				if err := analyst.Exec(t.Context(), query); err != nil {
					t.Errorf("analyst, %s: %v", query, err)
				}
			}
			if err := service.Check(t.Context()); err != nil {
				t.Error(err)
			}
			// Analysts of another ClickHouse may not even change settings, and the view has some.
			if err := service.Exec(t.Context(), "SELECT count() FROM v_signed_hashes SETTINGS readonly = 1"); err != nil {
				t.Error(err)
			}
			contains(t, analyst.Check(t.Context()), "only read")
			if text, err := os.ReadFile(secret); string(text) != "xyzzy" {
				t.Errorf("the secret is %q, %v", text, err)
			}
			if childOf(e) != child {
				t.Error("the engine was replaced meanwhile")
			}
		})
	}
}
