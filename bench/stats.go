package bench

// Statistics over a handful of rounds or many latencies. The median and the spread are reported: rounds on a shared
// machine are not normally distributed, and one bad round must not move the figure.

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Summary describes samples, in their unit.
type Summary struct {
	N      int     `json:"n"`
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	MAD    float64 `json:"mad"` // median absolute deviation from the median
}

// summarize returns the zero Summary for no samples.
func summarize(samples []float64) Summary {
	if len(samples) == 0 {
		return Summary{}
	}
	m := median(samples)
	deviations := make([]float64, len(samples))
	for i, x := range samples {
		deviations[i] = math.Abs(x - m)
	}
	return Summary{N: len(samples), Median: m, Min: slices.Min(samples), Max: slices.Max(samples), MAD: median(deviations)}
}

// median is NaN for no samples.
func median(samples []float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(samples))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// quantile is the smallest sample that a share q, 0 to 1, of all are not above (nearest rank); NaN for no samples.
func quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(samples))
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// slope is that of the line through points (least squares), y's unit for each of x's; 0 where x doesn't vary.
func slope(points []Point) float64 {
	var sx, sy, sxx, sxy float64
	n := float64(len(points))
	for _, p := range points {
		sx, sy, sxx, sxy = sx+p.X, sy+p.Y, sxx+p.X*p.X, sxy+p.X*p.Y
	}
	d := n*sxx - sx*sx
	if n < 2 || d <= 0 {
		return 0
	}
	return (n*sxy - sx*sy) / d
}

// ratios divides a by b, round by round. Rounds that one of them lacks are left out.
func ratios(a, b []float64) []float64 {
	var r []float64
	for i := range min(len(a), len(b)) {
		if a[i] > 0 && b[i] > 0 {
			r = append(r, a[i]/b[i])
		}
	}
	return r
}

// each applies f to all.
func each(samples []float64, f func(float64) float64) []float64 {
	out := make([]float64, len(samples))
	for i, x := range samples {
		out[i] = f(x)
	}
	return out
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func sortPoints(points []Point) {
	slices.SortFunc(points, func(a, b Point) int { return cmp.Compare(a.X, b.X) })
}
