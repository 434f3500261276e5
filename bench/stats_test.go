package bench

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSummary(t *testing.T) {
	for name, c := range map[string]struct {
		samples []float64
		want    Summary
	}{
		"none":       {nil, Summary{}},
		"one":        {[]float64{3}, Summary{1, 3, 3, 3, 0}},
		"odd":        {[]float64{9, 1, 5}, Summary{3, 5, 1, 9, 4}},
		"even":       {[]float64{4, 1, 3, 2}, Summary{4, 2.5, 1, 4, 1}},
		"one is far": {[]float64{10, 11, 12, 13, 1000}, Summary{5, 12, 10, 1000, 1}},
	} {
		if got := summarize(c.samples); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestQuantilesAreNearestRanks(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for q, want := range map[float64]float64{0: 1, 0.01: 1, 0.5: 50, 0.99: 99, 0.991: 100, 1: 100} {
		if got := quantile(hundred, q); got != want {
			t.Errorf("quantile %v of 1 to 100 is %v, want %v", q, got, want)
		}
	}
	if !math.IsNaN(quantile(nil, 0.5)) || !math.IsNaN(median(nil)) {
		t.Error("nothing has a quantile")
	}
}

func TestSummaryHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		samples := rapid.SliceOfN(rapid.Float64Range(-1e6, 1e6), 1, 50).Draw(t, "samples")
		before := slices.Clone(samples)
		s := summarize(samples)
		if s.Min > s.Median || s.Median > s.Max || s.MAD < 0 || s.MAD > s.Max-s.Min || s.N != len(samples) {
			t.Fatalf("%+v of %v", s, samples)
		}
		if q := quantile(samples, 0.5); q < s.Min || q > s.Median {
			t.Fatalf("the nearest rank %v is above the median %v", q, s.Median)
		}
		if !slices.Equal(before, samples) {
			t.Fatal("the samples were changed")
		}
	})
}

func TestSlope(t *testing.T) {
	for name, c := range map[string]struct {
		points []Point
		want   float64
	}{
		"none":      {nil, 0},
		"one":       {[]Point{{1, 1}}, 0},
		"same x":    {[]Point{{1, 1}, {1, 2}}, 0},
		"flat":      {[]Point{{0, 5}, {1, 5}, {2, 5}}, 0},
		"line":      {[]Point{{0, 1}, {1, 3}, {2, 5}}, 2},
		"scattered": {[]Point{{0, 0}, {0, 2}, {2, 4}, {2, 6}}, 2},
	} {
		if got := slope(c.points); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestRatiosAreRoundByRound(t *testing.T) {
	if got := ratios([]float64{10, 20, 30}, []float64{5, 0, 10}); !slices.Equal(got, []float64{2, 3}) {
		t.Errorf("%v, want the rounds in which both were measured", got)
	}
}

func TestNumbersForPeople(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 0.0714: "0.071", 0.9: "0.900", 1: "1", 1.666: "1.67", 9.999: "10", 12.34: "12.3", 99.96: "100", 1234.5: "1,234", 1e6: "1,000,000",
		-1500: "-1,500", -0.25: "-0.250", math.NaN(): "–", math.Inf(1): "–",
	} {
		if got := number(x); got != want {
			t.Errorf("%v is written %q, want %q", x, got, want)
		}
	}
}
