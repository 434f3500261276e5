package main

// The rules of docs/design.md ("Packages") about who may import whom.

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "countersign/"

// below lists what a package may import of this module beside what lies under it. Packages that aren't named may import nothing but
// what lies under them.
var below = map[string][]string{
	"cmd/countersign":       {"client", "ingest", "internal", "pipeline", "sink"},
	"cmd/countersign-bench": {"bench", "internal"},
	"scripts/demo":          {"client", "testsite"},
	"bench":                 {"client", "pipeline", "sink", "testsite"},
	"ingest":                {"internal", "pipeline/record", "pipeline/log", "sink/store"},
	"pipeline/verify":       {"pipeline/record", "pipeline/log", "pipeline/certs", "pipeline/signature"},
	"pipeline/signature":    {"pipeline/signature"},
	"pipeline/certs":        {"pipeline/signature"},
	"sink":                  {"pipeline/record", "pipeline/log"},
	"sink/store":            {"pipeline/record"},
}

// onlyImporter says which package alone may import a library.
var onlyImporter = map[string]string{
	"github.com/segmentio/kafka-go": "pipeline/log",
	"github.com/twmb/franz-go":      "pipeline/log",
	"github.com/ClickHouse/":        "sink/store",
	"github.com/ebitengine/purego":  "sink/store",
	"github.com/valyala/fasthttp":   "ingest",
	"github.com/maypok86/otter":     "pipeline/certs",
	"github.com/spf13/cobra":        "cmd",
}

type listed struct {
	ImportPath string
	Doc        string
	Imports    []string
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, i := range p.Imports {
			if target, ours := strings.CutPrefix(i, module); ours && !mayImport(name, target) {
				t.Errorf("%s imports %s: docs/design.md says what may", name, target)
			}
			for library, owner := range onlyImporter {
				if strings.HasPrefix(i, library) && name != owner && !strings.HasPrefix(name, owner+"/") {
					t.Errorf("%s imports %s, which is for %s alone", name, i, owner)
				}
			}
		}
		if p.Doc == "" {
			t.Errorf("%s has no doc comment", name)
		}
	}
}

func mayImport(name, target string) bool {
	under := func(dir string) bool { return target == dir || strings.HasPrefix(target, dir+"/") }
	if under(name) {
		return true
	}
	for dir := name; dir != ""; dir = parent(dir) {
		if slices.ContainsFunc(below[dir], under) {
			return true
		}
	}
	return false
}

func parent(dir string) string {
	i := strings.LastIndexByte(dir, '/')
	return dir[:max(i, 0)]
}

func packages(t *testing.T) (all []listed) {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Doc,Imports", module+"...").Output()
	must(t, err)
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		must(t, err)
		all = append(all, p)
	}
}
