package bench

// The geometry of charts, in a view of fixed size. The template puts the marks into SVG.

import (
	"fmt"
	"math"
	"strings"
)

const (
	chartWidth, chartHeight = 760.0, 280.0
	plotLeft, plotRight     = 74.0, 12.0
	plotTop, plotBottom     = 12.0, 40.0
	ticksWanted             = 5
	mostPoints              = 600 // of a line; more are thinned out
)

// tick is a line of the grid and its label.
type tick struct {
	At    float64
	Label string
}

// plotted is a chart ready for the template.
type plotted struct {
	*Chart
	Width, Height            float64
	Left, Right, Top, Bottom float64
	XTicks, YTicks           []tick
	Lines                    []plottedLine
}

type plottedLine struct {
	Name, Points string
	Class        int
}

// plot lays a chart out. Both axes begin at 0.
func (c *Chart) plot() plotted {
	p := plotted{Chart: c, Width: chartWidth, Height: chartHeight,
		Left: plotLeft, Right: chartWidth - plotRight, Top: plotTop, Bottom: chartHeight - plotBottom}
	var mostX, mostY float64
	for _, s := range c.Series {
		for _, point := range s.Points {
			mostX, mostY = math.Max(mostX, point.X), math.Max(mostY, point.Y)
		}
	}
	xs, ys := ticks(mostX), ticks(mostY)
	x := func(v float64) float64 { return p.Left + v/math.Max(mostX, xs[1])*(p.Right-p.Left) }
	top := ys[len(ys)-1]
	y := func(v float64) float64 { return p.Bottom - v/top*(p.Bottom-p.Top) }
	for _, v := range xs {
		if v <= math.Max(mostX, xs[1]) {
			p.XTicks = append(p.XTicks, tick{x(v), number(v)})
		}
	}
	for _, v := range ys {
		p.YTicks = append(p.YTicks, tick{y(v), number(v)})
	}
	for i, s := range c.Series {
		var points strings.Builder
		for _, point := range thin(s.Points, mostPoints) {
			fmt.Fprintf(&points, "%.1f,%.1f ", x(point.X), y(point.Y))
		}
		p.Lines = append(p.Lines, plottedLine{s.Name, points.String(), i % 4})
	}
	return p
}

// ticks are round values from 0 to the first that is not below most. There are two at least.
func ticks(most float64) []float64 {
	if !(most > 0) || math.IsInf(most, 0) {
		most = 1
	}
	step := math.Pow(10, math.Floor(math.Log10(most/ticksWanted)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if most/(step*factor) <= ticksWanted {
			step *= factor
			break
		}
	}
	values := []float64{0}
	for i := 1; values[len(values)-1] < most; i++ {
		values = append(values, float64(i)*step)
	}
	return values
}

// thin leaves at most n points, the last one among them.
func thin(points []Point, n int) []Point {
	if len(points) <= n {
		return points
	}
	var kept []Point
	for i := range n {
		kept = append(kept, points[(i+1)*len(points)/n-1])
	}
	return kept
}
