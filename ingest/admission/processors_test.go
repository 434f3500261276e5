package admission

import (
	"math"
	gometrics "runtime/metrics"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	h := &gometrics.Float64Histogram{
		Buckets: []float64{math.Inf(-1), .001, .01, .1, math.Inf(1)}, Counts: []uint64{10, 80, 9, 1},
	}
	for _, c := range []struct {
		before []uint64
		part   float64
		want   time.Duration
	}{
		{nil, .1, time.Millisecond}, {nil, .9, 10 * time.Millisecond}, {nil, .99, 100 * time.Millisecond},
		{nil, 1, 100 * time.Millisecond}, // of the last bucket only its beginning is known
		{[]uint64{10, 80, 0, 0}, .5, 100 * time.Millisecond},
		{[]uint64{10, 80, 9, 1}, .5, 0},
	} {
		if got := quantile(h, c.before, c.part); got != c.want {
			t.Errorf("%v, %g: %s, want %s", c.before, c.part, got, c.want)
		}
	}
}

func TestProcessorDelayIsMeasured(t *testing.T) {
	delay := processorDelay()
	done := make(chan struct{})
	for range 1000 { // one in eight is measured
		go func() { done <- struct{}{} }()
		<-done
	}
	if d := delay(); d <= 0 {
		t.Errorf("a thousand goroutines waited %s", d)
	}
}
