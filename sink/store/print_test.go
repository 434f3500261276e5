package store

import (
	"strings"
	"testing"
)

func TestClausesThatPrintAreFound(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT 1 FORMAT JSON":                                   "FORMAT",
		"select 1 format\nTabSeparated ;":                        "FORMAT",
		"SELECT count() FORMAT CSV SETTINGS max_threads = 1":     "FORMAT",
		"SELECT [1] FORMAT CSV":                                  "FORMAT",
		"SELECT 'x' /* c */ FORMAT CSV -- end":                   "FORMAT",
		"SELECT 1 INTO OUTFILE 'x' FORMAT CSV":                   "INTO OUTFILE",
		"SELECT 1 into -- a file\n outfile 'x'":                  "INTO OUTFILE",
		"SELECT ' FORMAT JSON'":                                  "",
		"SELECT 1 -- FORMAT JSON":                                "",
		"SELECT 1 /* FORMAT JSON */":                             "",
		"SELECT format FROM t":                                   "",
		"SELECT 1 AS format":                                     "",
		"SELECT a, format b":                                     "",
		"SELECT x.format y FROM x":                               "",
		"SELECT * FROM format f":                                 "",
		"SELECT * FROM format(JSONEachRow, 'x')":                 "",
		"SELECT format('{} {}', 'a', 'b')":                       "",
		"SELECT `FORMAT` FROM (SELECT 1 AS `FORMAT` FORMAT CSV)": "",
		"SELECT 'a\\' FORMAT CSV":                                "",
		"":                                                       "",
	} {
		if got := printing(query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

func TestPrintReadsOnlyAndShowsNulls(t *testing.T) {
	db := open(t, Config{URL: newDB(t).cfg.URL, ReadOnly: true})
	var out strings.Builder
	n, err := db.Print(t.Context(), &out, "SELECT NULL AS a, toNullable('x') AS b, [1, NULL] AS c, ['y'] AS d, 1.5 AS e")
	if want := "a: NULL\nb: x\nc: [1 NULL]\nd: [y]\ne: 1.5\n"; err != nil || n != 1 || out.String() != want {
		t.Errorf("%d rows, %v:\n%s", n, err, out.String())
	}
	if n, err := db.Print(t.Context(), &out, "SELECT 1 WHERE 0"); n != 0 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
	for query, want := range map[string]string{
		"INSERT INTO schema_migrations (version, name) SELECT 9, 'x'": "readonly",
		"DROP TABLE uploads":                   "readonly",
		"CREATE TABLE x (a UInt8) ENGINE=Null": "readonly",
		"SELECT 1 SETTINGS readonly = 0":       "readonly",
		"SET readonly = 0":                     "readonly",
		"SELECT 1 FORMAT JSON":                 "FORMAT can't be used here",
		"SELECT 1 INTO OUTFILE 'x'":            "INTO OUTFILE can't be used here",
	} {
		if _, err := db.Print(t.Context(), &out, query); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", query, err, want)
		}
	}
}
