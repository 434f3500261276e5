package main

// The house's order: docs/design.md ("Rooms") has a table of the folders with packages, and this test reads it. A room
// is a package with what lies under its folder's internal. The rules, for files that are not tests:
//
//   - a package imports rooms on lower floors, and what lies under its own folder; so no stage imports another;
//   - a library has one room that imports it;
//   - a package's doc comment ends with the sentence that the table gives for it, and its imports keep that sentence;
//   - the service's program holds no test code.

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "countersign/"

// terms says what a package imports that knows something. A path stands for what lies under it, too; one that ends with
// $ doesn't. Terms without paths can't be seen in imports.
var terms = map[string][]string{
	"Kafka":           {module + "pipeline/log", "github.com/segmentio/kafka-go", "github.com/twmb/franz-go"},
	"ClickHouse":      {module + "sink/store", "github.com/ClickHouse"},
	"HTTP":            {"net/http", "github.com/valyala/fasthttp", module + "ingest/server"},
	"fasthttp":        {"github.com/valyala/fasthttp"},
	"JSON":            {"encoding/json"},
	"records":         {module + "pipeline/record"},
	"certificates":    {module + "pipeline/certs"},
	"signatures":      {module + "pipeline/signature"},
	"the stages":      {module + "ingest", module + "pipeline/verify", module + "sink$"},
	"uploads":         nil,
	"who owns a hash": nil,
	anyOther:          nil, // its own rule
}

const anyOther = "any other package of this module"

// onlyImporter says which room alone may import a library.
var onlyImporter = map[string]string{
	"github.com/segmentio/kafka-go": "pipeline/log",
	"github.com/twmb/franz-go":      "pipeline/log",
	"github.com/ClickHouse":         "sink/store",
	"github.com/ebitengine/purego":  "sink/store/engine",
	"github.com/valyala/fasthttp":   "ingest/server",
	"github.com/maypok86/otter":     "pipeline/certs",
	"github.com/knadh/koanf":        "cmd/countersign",
	"github.com/spf13/cobra":        "cmd",

	"github.com/twmb/franz-go/pkg/kfake": "pipeline/log/embedded",
}

// room is a row of the table.
type room struct {
	folder  string
	floor   int
	mustNot string // the end of the sentence "It must not know ...", without its full stop; empty: no such sentence
}

// listed is what go list says about a package.
type listed struct {
	Dir, ImportPath string
	GoFiles         []string
	Imports         []string
}

func TestRooms(t *testing.T) {
	rooms := readRooms(t)
	all := packages(t)
	for _, p := range all {
		name := strings.TrimPrefix(p.ImportPath, module)
		at, ok := roomOf(rooms, name)
		if !ok {
			t.Errorf("%s is in no room: add a row to the table of docs/design.md", name)
			continue
		}
		for _, i := range p.Imports {
			checkImport(t, rooms, at, name, i)
		}
		checkDoc(t, at, name, p)
	}
	for _, r := range rooms {
		if !slices.ContainsFunc(all, func(p listed) bool { return p.ImportPath == module+r.folder }) {
			t.Errorf("docs/design.md has a room %s, and there is no such package", r.folder)
		}
	}
}

// checkImport holds one import of a package to the floors and to onlyImporter.
func checkImport(t *testing.T, rooms []room, at room, name, imported string) {
	t.Helper()
	for library, owner := range onlyImporter {
		if within(imported, library) && !within(name, owner) {
			t.Errorf("%s imports %s, which is for %s alone", name, imported, owner)
		}
	}
	target, ours := strings.CutPrefix(imported, module)
	if !ours || within(target, name) {
		return
	}
	other, ok := roomOf(rooms, target)
	if ok && other.folder != at.folder && other.floor >= at.floor {
		t.Errorf("%s, on floor %d, imports %s, on floor %d: imports go down", name, at.floor, target, other.floor)
	}
}

// sentence is how a doc comment says what a package must not know. Its last word is followed by the end of the comment.
var sentence = regexp.MustCompile(`It must not know ([^.]*)\.$`)

// checkDoc holds a package's doc comment to the table, and the package's imports to what the comment says.
func checkDoc(t *testing.T, at room, name string, p listed) {
	t.Helper()
	doc := docComment(t, p)
	if doc == "" {
		t.Errorf("%s has no doc comment", name)
		return
	}
	mustNot := ""
	if m := sentence.FindStringSubmatch(doc); m != nil {
		mustNot = m[1]
	}
	if at.folder == name && mustNot != at.mustNot {
		t.Errorf("the doc comment of %s says that it must not know %q; docs/design.md says %q", name, mustNot, at.mustNot)
	}
	for _, term := range split(mustNot) {
		paths, known := terms[term]
		if !known {
			t.Errorf("%s must not know %q, which is no term of this test", name, term)
		}
		for _, i := range p.Imports {
			target, ours := strings.CutPrefix(i, module)
			if term == anyOther && ours && !within(target, name) || slices.ContainsFunc(paths, func(path string) bool { return within(i, path) }) {
				t.Errorf("%s must not know %s, and imports %s", name, term, i)
			}
		}
	}
}

// split cuts "A, B or C" into its terms.
func split(list string) []string {
	if list == "" {
		return nil
	}
	return regexp.MustCompile(`, | or `).Split(list, -1)
}

// within tells whether a path is another or lies under it; one that ends with $ has nothing under it.
func within(path, dir string) bool {
	if exact, ok := strings.CutSuffix(dir, "$"); ok {
		return path == exact
	}
	return path == dir || strings.HasPrefix(path, dir+"/")
}

// roomOf is the room that a package lies in: its own, or the one above its folder internal.
func roomOf(rooms []room, name string) (found room, ok bool) {
	for _, r := range rooms {
		if name == r.folder {
			return r, true
		}
		if (within(name, r.folder+"/internal") || within(name, r.folder+"/gen")) && len(r.folder) > len(found.folder) {
			found, ok = r, true
		}
	}
	return found, ok
}

// readRooms reads the table under "## Rooms" of docs/design.md: folder | floor | what it is | must not know.
func readRooms(t *testing.T) (rooms []room) {
	t.Helper()
	page, err := os.ReadFile("../../docs/design.md")
	must(t, err)
	_, section, _ := strings.Cut(string(page), "\n## Rooms\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			continue // prose, the heading, the line under it
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		floor, err := strconv.Atoi(cells[2])
		if err != nil {
			t.Fatalf("the floor of %s: %v", cells[1], err)
		}
		rooms = append(rooms, room{folder: strings.Trim(cells[1], "`"), floor: floor, mustNot: strings.Trim(cells[4], "-")})
	}
	if len(rooms) < 10 {
		t.Fatalf("docs/design.md has %d rooms", len(rooms))
	}
	return rooms
}

// docComment is a package's doc comment, in one line.
func docComment(t *testing.T, p listed) string {
	t.Helper()
	var text strings.Builder
	for _, file := range p.GoFiles {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.PackageClauseOnly|parser.ParseComments)
		must(t, err)
		text.WriteString(f.Doc.Text())
	}
	return strings.Join(strings.Fields(text.String()), " ")
}

func packages(t *testing.T) (all []listed) {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=Dir,ImportPath,GoFiles,Imports", module+"...").Output()
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

// What makes keys that are not secret, starts services or measures them has no place in the program that runs as one.
func TestTheProgramHoldsNoTestCode(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	must(t, err)
	for dependency := range strings.Lines(string(out)) {
		dependency = strings.TrimSpace(dependency)
		for _, banned := range []string{module + "bench", module + "testsite", module + "internal/service", "testing", "net/http/httptest"} {
			if within(dependency, banned) {
				t.Errorf("countersign holds %s", dependency)
			}
		}
	}
}

// The rules find what breaks them.
func TestTheRulesOfTheHouse(t *testing.T) {
	if got := split("Kafka, who owns a hash or HTTP"); !slices.Equal(got, []string{"Kafka", "who owns a hash", "HTTP"}) {
		t.Errorf("%q", got)
	}
	if got := split("JSON"); !slices.Equal(got, []string{"JSON"}) {
		t.Errorf("%q", got)
	}
	for _, c := range []struct {
		path, dir string
		want      bool
	}{
		{"a/b", "a/b", true}, {"a/b/c", "a/b", true}, {"a/bc", "a/b", false}, {"a", "a/b", false}, {"a/b", "a$", false}, {"a", "a$", true},
	} {
		if got := within(c.path, c.dir); got != c.want {
			t.Errorf("%s within %s: %t", c.path, c.dir, got)
		}
	}
	rooms := []room{{folder: "a"}, {folder: "a/b"}}
	for name, want := range map[string]string{"a": "a", "a/b": "a/b", "a/internal/x": "a", "a/b/internal/x/internal/y": "a/b", "a/c": ""} {
		if got, _ := roomOf(rooms, name); got.folder != want {
			t.Errorf("%s is in %q, want %q", name, got.folder, want)
		}
	}
	for doc, want := range map[string]string{
		"A is a. It must not know Kafka or HTTP.":     "Kafka or HTTP",
		"A is a. It must not know Kafka. It is done.": "",
		"A is a.": "",
	} {
		got := ""
		if m := sentence.FindStringSubmatch(doc); m != nil {
			got = m[1]
		}
		if got != want {
			t.Errorf("%q says %q, want %q", doc, got, want)
		}
	}
}

// TestTheWayOfAnUploadNamesFunctions holds the table of hops in docs/design.md to the code: each function is declared in
// one of the packages beside it.
func TestTheWayOfAnUploadNamesFunctions(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "design.md"))
	must(t, err)
	row := regexp.MustCompile("(?m)^\\| \\d+ \\|.*\\| (`[^|]*`) \\| (`[^|]*`) \\|$")
	quoted := regexp.MustCompile("`([^`]+)`")
	rows := row.FindAllStringSubmatch(string(page), -1)
	if len(rows) < 10 {
		t.Fatalf("the table has %d hops", len(rows))
	}
	for _, r := range rows {
		var code strings.Builder
		for _, folder := range quoted.FindAllStringSubmatch(r[1], -1) {
			files, err := filepath.Glob(filepath.Join("..", "..", folder[1], "*.go"))
			must(t, err)
			for _, file := range files {
				text, err := os.ReadFile(file)
				must(t, err)
				code.Write(text)
			}
		}
		for _, name := range quoted.FindAllStringSubmatch(r[2], -1) {
			declared := `(?m)^func ` + name[1] + `[(\[]`
			if receiver, method, ok := strings.Cut(name[1], "."); ok {
				declared = `(?m)^func \(\w+ \*?` + receiver + `\) ` + method + `\(`
			}
			if !regexp.MustCompile(declared).MatchString(code.String()) {
				t.Errorf("docs/design.md says that %s is in %s, and it isn't", name[1], r[1])
			}
		}
	}
}
