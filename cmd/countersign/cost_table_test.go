package main

// The table of docs/security.md: what was measured of each kind of request, with the bound of each figure.

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	columnLog            = "log"
	columnStore          = "store"
	columnFetches        = "fetches"
	columnProcessor      = "ms/KiB"
	columnMemory         = "MiB"
	columnMemoryMultiple = "memory"

	// leastForMultiple is how many bytes must be sent before memory is told as a multiple of them. The Go runtime lets
	// some MiB of garbage gather before it collects, whatever was sent.
	leastForMultiple = 1 << 20
	// processorNoise is how many milliseconds of processors a measurement may be wrong by.
	processorNoise = 30
)

// columns are those with bounds, in the order of the table, with the margin that a new bound gets: a factor, and what
// is added to it.
var columns = []struct {
	name        string
	exact       bool // it doesn't depend on the machine; where it is nothing, so is the bound
	factor, add float64
}{
	{columnLog, true, 1.15, 0.02},
	{columnStore, true, 1.15, 0.02},
	{columnFetches, true, 1.1, 1}, // looks that several requests share depend on when these come
	{columnProcessor, false, 5, 0},
	{columnMemory, false, 2, 16},
	{columnMemoryMultiple, false, 2, 1},
}

// costRow is what a kind of request was measured to cost.
type costRow struct {
	kind     string
	requests int
	bytes    float64            // of one request, as sent
	figures  map[string]float64 // by column; a column may be missing
}

// least is the lower one of each figure.
func (r costRow) least(other costRow) costRow {
	for name, figure := range other.figures {
		r.figures[name] = min(r.figures[name], figure)
	}
	return r
}

func (r costRow) String() string {
	text := fmt.Sprintf("%s: %d requests of %.0f bytes", r.kind, r.requests, r.bytes)
	for _, c := range columns {
		if figure, ok := r.figures[c.name]; ok {
			text += fmt.Sprintf(", %s %s", c.name, showFigure(figure))
		}
	}
	return text
}

// costTable is the page with the table.
type costTable struct {
	path          string
	before, after string                        // the page around the rows
	bounds        map[string]map[string]float64 // by kind and column
	kinds         []string
	noProcessor   bool // this machine's processor is another one
}

var (
	costHeading = "| kind of request | requests | bytes | " + strings.Join(columnNames(), " | ") + " |\n|---|" +
		strings.Repeat("---:|", len(columns)+2) + "\n"
	costCell = regexp.MustCompile(`^([0-9.]+) \(([0-9.]+)\)$`)
)

func columnNames() (names []string) {
	for _, c := range columns {
		names = append(names, c.name)
	}
	return names
}

func readCostTable(t *testing.T, path string) *costTable {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	before, rest, ok := strings.Cut(string(text), costHeading)
	if !ok {
		t.Fatalf("%s has no table with the heading\n%s", path, costHeading)
	}
	page := &costTable{path: path, before: before, bounds: make(map[string]map[string]float64)}
	for strings.HasPrefix(rest, "|") {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != len(columns)+3 {
			t.Fatalf("%s: this row has %d cells: %s", path, len(cells), line)
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		bounds := make(map[string]float64)
		for i, c := range columns {
			if cell := cells[i+3]; cell != "-" {
				parts := costCell.FindStringSubmatch(cell)
				if parts == nil {
					t.Fatalf("%s: a cell is a figure and its bound, 1.2 (1.5), and this one is %q: %s", path, cell, line)
				}
				bounds[c.name], err = strconv.ParseFloat(parts[2], 64)
				must(t, err)
			}
		}
		page.bounds[cells[0]], page.kinds = bounds, append(page.kinds, cells[0])
	}
	page.after = rest
	return page
}

// exceeds says which of a row's figures are over their bounds; empty: none.
func (p *costTable) exceeds(r costRow) string {
	var over []string
	for _, c := range columns {
		figure, measured := r.figures[c.name]
		bound, bounded := p.bounds[r.kind][c.name]
		if c.name == columnProcessor && p.noProcessor {
			continue
		}
		if measured && bounded && figure > bound {
			over = append(over, fmt.Sprintf("%s is %s, and at most %s is allowed", c.name, showFigure(figure), showFigure(bound)))
		}
	}
	return strings.Join(over, "; ")
}

// missing says which kinds are only in the table, or only among the measured ones; empty: none.
func (p *costTable) missing(measured []costRow) string {
	var differ []string
	for _, r := range measured {
		if !slices.Contains(p.kinds, r.kind) {
			differ = append(differ, r.kind)
		}
	}
	for _, name := range p.kinds {
		if !slices.ContainsFunc(measured, func(r costRow) bool { return r.kind == name }) {
			differ = append(differ, name)
		}
	}
	return strings.Join(differ, ", ")
}

// write rewrites the table with new figures and the old bounds.
func (p *costTable) write(t *testing.T, measured []costRow) {
	t.Helper()
	var rows strings.Builder
	for _, r := range measured {
		fmt.Fprintf(&rows, "| %s | %d | %.0f |", r.kind, r.requests, r.bytes)
		for _, c := range columns {
			figure, ok := r.figures[c.name]
			if !ok {
				rows.WriteString(" - |")
				continue
			}
			bound, ok := p.bounds[r.kind][c.name]
			if !ok {
				bound = figure*c.factor + c.add
				if figure == 0 && c.exact {
					bound = 0
				}
				if c.name == columnProcessor {
					bound += processorNoise * 1024 / (r.bytes * float64(r.requests))
				}
				bound = roundUp(bound)
			}
			fmt.Fprintf(&rows, " %s (%s) |", showFigure(figure), showFigure(bound))
		}
		rows.WriteString("\n")
	}
	must(t, os.WriteFile(p.path, []byte(p.before+costHeading+rows.String()+p.after), 0o644))
}

// showFigure writes three significant digits, or three decimals of what is less than one.
func showFigure(x float64) string {
	decimals := 3
	for limit := 1.0; limit <= 100 && x >= limit; limit *= 10 {
		decimals--
	}
	text := strconv.FormatFloat(x, 'f', decimals, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// roundUp keeps two significant digits.
func roundUp(x float64) float64 {
	if x <= 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(x))-1)
	return math.Ceil(x/unit-1e-9) * unit
}

// A figure past its bound is found, and so are kinds that the table lacks; rewriting keeps bounds and what is around.
func TestTheCostTableHoldsBounds(t *testing.T) {
	path := t.TempDir() + "/page.md"
	row := "| a poll | 10 | 99 | 0 (0.02) | 0 (0) | 1 (1.2) | 2 (5) | 3 (10) | - |\n"
	must(t, os.WriteFile(path, []byte("Before.\n\n"+costHeading+row+"\nAfter.\n"), 0o600))
	page := readCostTable(t, path)
	within := costRow{"a poll", 20, 101, map[string]float64{columnLog: 0.01, columnFetches: 1.2, columnProcessor: 4}}
	over := costRow{"a poll", 20, 101, map[string]float64{columnLog: 0.03, columnFetches: 2, columnProcessor: 6}}
	if got := page.exceeds(within); got != "" {
		t.Errorf("within bounds: %s", got)
	}
	if got := page.exceeds(over); strings.Count(got, "at most") != 3 {
		t.Errorf("over three bounds: %s", got)
	}
	if got := page.exceeds(over.least(within)); got != "" {
		t.Errorf("the least of both: %s", got)
	}
	if got := page.missing([]costRow{{kind: "b"}}); got != "b, a poll" {
		t.Errorf("missing: %s", got)
	}
	page.write(t, []costRow{within, {"b", 1, 1000, map[string]float64{columnLog: 2}}})
	text, err := os.ReadFile(path)
	must(t, err)
	want := "Before.\n\n" + costHeading + "| a poll | 20 | 101 | 0.01 (0.02) | - | 1.2 (1.2) | 4 (5) | - | - |\n" +
		"| b | 1 | 1000 | 2 (2.4) | - | - | - | - | - |\n\nAfter.\n"
	if string(text) != want {
		t.Errorf("the page is\n%s\nwant\n%s", text, want)
	}
	for x, want := range map[float64]string{0: "0", 0.0126: "0.013", 1.5: "1.5", 12.34: "12.3", 123.4: "123", 1234: "1234", 1: "1", 100: "100"} {
		if got := showFigure(x); got != want {
			t.Errorf("%v is shown as %s, want %s", x, got, want)
		}
	}
}
