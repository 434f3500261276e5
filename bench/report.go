package bench

// What a session found. The same values go to the table, the JSON file and the HTML page.

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Report is a whole session.
type Report struct {
	Date    time.Time `json:"date"`
	Took    string    `json:"took"`
	Machine Machine   `json:"machine"`
	Command []string  `json:"command"`
	Notes   []string  `json:"notes,omitempty"` // what a reader should know before trusting the figures
	Figures []*Figure `json:"figures"`
	Tables  []*Table  `json:"tables,omitempty"`
	Charts  []*Chart  `json:"charts,omitempty"`

	byID map[string]*Figure
}

// Figure is one measured thing.
type Figure struct {
	ID      string    `json:"id"`
	Group   string    `json:"group"`
	Title   string    `json:"title"`
	Unit    string    `json:"unit"`
	Samples []float64 `json:"samples,omitempty"` // by round
	Summary
	Target  *Target  `json:"target,omitempty"`
	Beside  []string `json:"beside,omitempty"` // IDs of what ran in the same rounds
	Missing string   `json:"missing,omitempty"`
}

// Target is what the project promises of a figure's median, and what it aims at beyond that.
type Target struct {
	Want float64 `json:"want"`
	Aim  float64 `json:"aim,omitempty"` // 0: none
	Most bool    `json:"most"`          // the figure must not be above; else not below
}

func atLeast(want, aim float64) *Target { return &Target{Want: want, Aim: aim} }
func atMost(want, aim float64) *Target  { return &Target{Want: want, Aim: aim, Most: true} }

// met compares a value with the target.
func (t *Target) met(value float64) bool {
	if t.Most {
		return value <= t.Want
	}
	return value >= t.Want
}

func (t *Target) String() string {
	sign := "≥"
	if t.Most {
		sign = "≤"
	}
	text := sign + " " + number(t.Want)
	if t.Aim != 0 {
		text += ", aim " + number(t.Aim)
	}
	return text
}

// Point is one of a chart's.
type Point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// Chart is lines over a common axis.
type Chart struct {
	Title  string   `json:"title"`
	XLabel string   `json:"xLabel"`
	YLabel string   `json:"yLabel"`
	Series []Series `json:"series"`
}

// Series is one line.
type Series struct {
	Name   string  `json:"name"`
	Points []Point `json:"points"`
}

// add puts a figure into the report. Samples that don't exist need a reason, which missing gives.
func (r *Report) add(f Figure) *Figure {
	f.Summary = summarize(f.Samples)
	if len(f.Samples) == 0 && f.Missing == "" {
		f.Missing = "not measured"
	}
	if r.byID == nil {
		r.byID = make(map[string]*Figure)
	}
	r.Figures = append(r.Figures, &f)
	r.byID[f.ID] = &f
	return &f
}

// note adds a sentence once.
func (r *Report) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(r.Notes, text) {
		r.Notes = append(r.Notes, text)
	}
}

// Find returns the figure with an ID; nil if there is none.
func (r *Report) Find(id string) *Figure { return r.byID[id] }

// write leaves report.json and report.html in dir.
func (r *Report) write(dir string) (jsonPath, htmlPath string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", "", fmt.Errorf("make the folder of results: %w", err)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", "", fmt.Errorf("encode the report: %w", err)
	}
	jsonPath, htmlPath = filepath.Join(dir, "report.json"), filepath.Join(dir, "report.html")
	if err := os.WriteFile(jsonPath, append(text, '\n'), 0o644); err != nil {
		return "", "", err
	}
	page, err := os.Create(htmlPath)
	if err != nil {
		return "", "", err
	}
	if err := r.html(page); err != nil {
		_ = page.Close()
		return "", "", err
	}
	return jsonPath, htmlPath, page.Close()
}

// number is a value for people: three significant digits, or whole with thousands apart.
func number(x float64) string {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return "–"
	case x != 0 && math.Abs(x) < 0.995:
		return fmt.Sprintf("%.3f", x)
	case math.Abs(x) < 9.995:
		return trimZeros(fmt.Sprintf("%.2f", x))
	case math.Abs(x) < 99.95:
		return trimZeros(fmt.Sprintf("%.1f", x))
	}
	digits := fmt.Sprintf("%.0f", math.Abs(x))
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if x < 0 {
		return "-" + digits
	}
	return digits
}

func trimZeros(text string) string {
	for text[len(text)-1] == '0' {
		text = text[:len(text)-1]
	}
	if text[len(text)-1] == '.' {
		return text[:len(text)-1]
	}
	return text
}
