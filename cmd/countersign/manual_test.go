package main

// docs/operating.md lists every setting, every metric and what to do about every error in the log, and
// docs/dependencies.md every library. These tests hold their tables to the program, so that they stay true.

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// manual is docs/operating.md.
func manual(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "operating.md"))
	must(t, err)
	return string(page)
}

// section is what stands below a heading of a page, up to the next heading.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, below, found := strings.Cut(page, "\n"+heading+"\n")
	if !found {
		t.Fatalf("docs/operating.md has no heading %q", heading)
	}
	below, _, _ = strings.Cut(below, "\n#")
	return below
}

// Every flag has one row with its default. Where the default is none, nothing or "it depends", the row says so in words.
func TestTheManualHasEveryFlag(t *testing.T) {
	rows := make(map[string][]string) // defaults by flag
	row := regexp.MustCompile("(?m)^\\| `--([a-z0-9-]+)` \\| ([^|]+) \\|")
	for _, r := range row.FindAllStringSubmatch(section(t, manual(t), "## Configuration"), -1) {
		rows[r[1]] = append(rows[r[1]], strings.Trim(r[2], "`"))
	}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	bind(flags)
	inWords := []string{"", "[]", "0", "0B", "0s", "false", flags.Lookup("engine-lib-sha256").DefValue}
	flags.VisitAll(func(f *pflag.Flag) {
		defaults := rows[f.Name]
		if len(defaults) != 1 {
			t.Errorf("docs/operating.md has --%s %d times in its table of flags, want once", f.Name, len(defaults))
			return
		}
		if want := strings.Trim(f.DefValue, "[]"); !slices.Contains(inWords, f.DefValue) && defaults[0] != want {
			t.Errorf("docs/operating.md says that --%s is %q by default, and it is %q", f.Name, defaults[0], want)
		}
		delete(rows, f.Name)
	})
	for name := range rows {
		t.Errorf("docs/operating.md has --%s, and there is no such flag", name)
	}
}

// checkMetrics holds the manual's table to what /metrics says of a process that has done a bit of everything.
func checkMetrics(t *testing.T, metrics string) {
	t.Helper()
	names := func(pattern, text string) (all []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			all = append(all, m[1]+" "+m[2])
		}
		slices.Sort(all)
		return all
	}
	there := names(`(?m)^# TYPE (countersign_\w+) (\w+)$`, metrics)
	listed := names("(?m)^\\| `(countersign_\\w+)(?:\\{[^}]*\\})?` \\| (\\w+) \\|", section(t, manual(t), "### Metrics"))
	for _, name := range there {
		if !slices.Contains(listed, name) {
			t.Errorf("docs/operating.md lacks the metric %s", name)
		}
	}
	for _, name := range listed {
		if !slices.Contains(there, name) {
			t.Errorf("docs/operating.md has the metric %s, and the service doesn't", name)
		}
	}
	if n := len(slices.Compact(slices.Clone(listed))); n != len(listed) {
		t.Errorf("docs/operating.md has %d metrics more than once", len(listed)-n)
	}
}

// Whatever the service logs as an error is in the manual's table, up to a semicolon, with what to do.
func TestTheManualHasEveryError(t *testing.T) {
	table := section(t, manual(t), "### ERROR")
	logged := regexp.MustCompile(`\b(?:log|logger|Logger)\.Error\(\s*"([^";]+)`)
	found := 0
	for _, p := range packages(t) {
		for _, file := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, file))
			must(t, err)
			for _, message := range logged.FindAllStringSubmatch(string(text), -1) {
				found++
				if !strings.Contains(table, "`"+message[1]) {
					t.Errorf("docs/operating.md doesn't say what to do about the error %q of %s", message[1], filepath.Join(p.Dir, file))
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("the code logs %d errors: the pattern has grown old", found)
	}
}

// Every direct requirement has its version in a row of docs/dependencies.md.
func TestEveryDependencyHasARow(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "dependencies.md"))
	must(t, err)
	required := regexp.MustCompile(`(?m)^\t(\S+ v\S+)$`) // an indirect one has a comment
	for _, file := range []string{"go.mod", filepath.Join("tools", "go.mod")} {
		text, err := os.ReadFile(filepath.Join(root, file))
		must(t, err)
		modules := required.FindAllStringSubmatch(string(text), -1)
		if len(modules) == 0 {
			t.Errorf("%s requires nothing: the pattern has grown old", file)
		}
		for _, module := range modules {
			if !strings.Contains(string(page), module[1]) {
				t.Errorf("%s requires %s, and docs/dependencies.md has no such row", file, module[1])
			}
		}
	}
}
