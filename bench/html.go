package bench

// The report as one page: no scripts, nothing from elsewhere.

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
)

//go:embed report.html
var pageText string

// bar is a ratio beside its target, for the first chart of the page.
type bar struct {
	*Figure
	Y, Bar, Least, Most, Want float64 // pixels; Want below 0: no target
}

// section is a group of figures.
type section struct {
	Title   string
	Figures []*Figure
}

// html writes the page.
func (r *Report) html(w io.Writer) error {
	page, err := template.New("report").Funcs(template.FuncMap{"number": number, "join": strings.Join}).Parse(pageText)
	if err != nil {
		return fmt.Errorf("the report's template: %w", err)
	}
	var charts []plotted
	for _, c := range r.Charts {
		charts = append(charts, c.plot())
	}
	bars := r.bars()
	return page.Execute(w, struct {
		*Report
		Bars      []bar
		BarsSize  float64
		BarsStart float64
		Sections  []section
		Plots     []plotted
	}{r, bars, barHeight * float64(len(bars)), barStart, r.sections(), charts})
}

func (r *Report) sections() []section {
	var all []section
	for _, f := range r.Figures {
		if len(all) == 0 || all[len(all)-1].Title != f.Group {
			all = append(all, section{Title: f.Group})
		}
		last := &all[len(all)-1]
		last.Figures = append(last.Figures, f)
	}
	return all
}

const (
	barHeight           = 34.0
	barStart, barLength = 8.0, 740.0
)

// bars are the ratios that were measured, on one logarithmic scale: twice as much and half as much are as far from 1.
func (r *Report) bars() []bar {
	least, most := 0.5, 2.0
	var chosen []*Figure
	for _, f := range r.Figures {
		if f.Unit != "×" || f.N == 0 || f.Min <= 0 {
			continue
		}
		chosen = append(chosen, f)
		least, most = math.Min(least, f.Min), math.Max(most, f.Max)
	}
	at := func(v float64) float64 {
		share := math.Log(v/least) / math.Log(most/least)
		return barStart + barLength*math.Min(math.Max(share, 0), 1)
	}
	var bars []bar
	for i, f := range chosen {
		b := bar{Figure: f, Y: float64(i) * barHeight, Bar: at(f.Median), Least: at(f.Min), Most: at(f.Max), Want: -1}
		if f.Target != nil {
			b.Want = at(f.Target.Want)
		}
		bars = append(bars, b)
	}
	return bars
}

// Spread, Verdict and Goal are for the template.
func (f *Figure) Spread() string  { return f.spread() }
func (f *Figure) Verdict() string { return f.verdict() }

// Goal is the target in words; empty where there is none.
func (f *Figure) Goal() string {
	if f.Target == nil {
		return ""
	}
	return f.Target.String()
}
