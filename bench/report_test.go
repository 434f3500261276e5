package bench

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// example has every kind of figure.
func example() *Report {
	r := &Report{
		Date: time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC), Took: "5m0s", Command: []string{"countersign", "bench", "<&>"},
		Machine: Machine{CPU: "Some CPU", Cores: 2, System: "linux/amd64", Go: "go1.26.8", OpenSSL: "OpenSSL 3.0.19", Verifier: "rsa=generic", Commit: "abc"},
	}
	r.add(Figure{ID: "a", Group: "First", Title: "a rate", Unit: "/s", Samples: []float64{120_000, 130_000, 110_000}})
	r.add(Figure{ID: "b", Group: "First", Title: "a ratio <that> is met", Unit: "×", Samples: []float64{2, 2.5, 1.5}, Target: atLeast(1, 2), Beside: []string{"a"}})
	r.add(Figure{ID: "c", Group: "First", Title: "a ratio that is not", Unit: "×", Samples: []float64{1.7}, Target: atMost(1.6, 0)})
	r.add(Figure{ID: "d", Group: "Second", Title: "what could not be measured", Unit: "×", Target: atLeast(1, 0), Missing: "openssl is missing"})
	r.add(Figure{ID: "e", Group: "Second", Title: "nothing", Unit: "ms"})
	r.Charts = []*Chart{
		{Title: "Lines", XLabel: "s", YLabel: "MiB", Series: []Series{{"one", []Point{{0, 1}, {1, 300}, {2, 250}}}, {"two", []Point{{0, 0}, {2, 10}}}}},
		{Title: "Nothing in it", Series: []Series{{"empty", nil}}},
	}
	r.note("a note, %d", 1)
	r.note("a note, %d", 1)
	return r
}

func TestTable(t *testing.T) {
	var got bytes.Buffer
	example().table(&got)
	path := filepath.Join("testdata", "table.txt")
	if *rewrite {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the table is\n%s\nwant\n%s", got.String(), want)
	}
}

func TestPageStandsAlone(t *testing.T) {
	var page bytes.Buffer
	if err := example().html(&page); err != nil {
		t.Fatal(err)
	}
	text := page.String()
	if found := regexp.MustCompile(`(?i)https?:|<script|<link|@import|url\(|src=`).FindString(text); found != "" {
		t.Errorf("the page needs %q", found)
	}
	for _, want := range []string{"a ratio &lt;that&gt; is met", "NOT MET", "missing: openssl is missing", "&lt;&amp;&gt;", "a note, 1", "≥ 1, aim 2"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") || strings.Contains(text, "ZgotmplZ") {
		t.Error("a value isn't one")
	}
	drawings := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(text, -1)
	if len(drawings) != 3 {
		t.Errorf("%d drawings, want the ratios and two charts", len(drawings))
	}
	for _, svg := range drawings {
		decoder := xml.NewDecoder(strings.NewReader(svg))
		for {
			_, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v in %s", err, svg)
			}
		}
	}
}

func TestTicksReachTheTop(t *testing.T) {
	for _, most := range []float64{0, -1, math.NaN(), math.Inf(1), 1e-6, 0.3, 1, 4.9, 5, 99, 1234567} {
		values := ticks(most)
		if len(values) < 2 || len(values) > 2*ticksWanted+2 || values[0] != 0 {
			t.Errorf("%v: %v", most, values)
		}
		if last := values[len(values)-1]; !(math.IsNaN(most) || math.IsInf(most, 0)) && last < most {
			t.Errorf("%v: the last is %v", most, last)
		}
	}
}

func TestThinLeavesTheLast(t *testing.T) {
	points := make([]Point, 1000)
	for i := range points {
		points[i].X = float64(i)
	}
	thinned := thin(points, 7)
	if len(thinned) != 7 || thinned[6].X != 999 {
		t.Errorf("%v", thinned)
	}
}

func TestTargetsHaveADirection(t *testing.T) {
	if atLeast(1, 2).met(0.99) || !atLeast(1, 2).met(1) || atMost(1.6, 0).met(1.61) || !atMost(1.6, 0).met(1.6) {
		t.Error("a target is met on its wrong side")
	}
}
