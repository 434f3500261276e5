package admission

// How busy the processors are, and how many turns a second that leaves. Every goroutine that can run waits in the same
// line for a processor, an honest client's like any other. So the time that goroutines wait there is what a flood costs
// everybody else, whatever the flood is made of.

import (
	"math"
	gometrics "runtime/metrics"
	"time"
)

// delayQuantile is which part of the goroutines waits less than the delay that is looked at.
const delayQuantile = 0.9

// processorDelay returns a function that says how long goroutines have waited for a processor since its last call: nine
// of ten waited less. A call takes some microseconds. The function is for one goroutine at a time.
func processorDelay() func() time.Duration {
	sample := []gometrics.Sample{{Name: "/sched/latencies:seconds"}}
	var before []uint64
	return func() time.Duration {
		gometrics.Read(sample)
		if sample[0].Value.Kind() != gometrics.KindFloat64Histogram {
			return 0
		}
		h := sample[0].Value.Float64Histogram()
		delay := quantile(h, before, delayQuantile)
		before = append(before[:0], h.Counts...)
		return delay
	}
}

// quantile returns the upper end of the bucket of h in which a part of the events that came after before lies. It is 0
// where there are none.
func quantile(h *gometrics.Float64Histogram, before []uint64, part float64) time.Duration {
	if len(before) != len(h.Counts) {
		before = make([]uint64, len(h.Counts))
	}
	var total uint64
	for i, n := range h.Counts {
		total += n - before[i]
	}
	if total == 0 {
		return 0
	}
	var below uint64
	for i, n := range h.Counts {
		if below += n - before[i]; float64(below) >= part*float64(total) {
			end := h.Buckets[i+1]
			if math.IsInf(end, 1) {
				end = h.Buckets[i]
			}
			return time.Duration(end * float64(time.Second))
		}
	}
	return 0
}

const (
	// adaptEvery is how often a rate follows the delay.
	adaptEvery = 25 * time.Millisecond
	// growth is how much a rate grows in a second without delay, as a part of itself. It falls to its half at once: so a
	// flood that fills the processors whenever it may does so a small part of the time.
	growth = 0.25
	// highest is what a rate grows to, in its least rates: about what a machine can do that does nothing else. When a
	// flood comes, the least rate is reached six halvings later, in 150 ms.
	highest = 64
)

// adaptiveRate is a number of turns a second that falls while goroutines wait for processors. It belongs to the Pace
// whose lock guards it.
type adaptiveRate struct {
	floor    float64 // turns a second
	mostWait time.Duration
	delay    func() time.Duration

	now     float64 // turns a second
	adapted time.Time
}

// adapt follows the delay, if it is time to.
func (r *adaptiveRate) adapt(now time.Time) {
	since := now.Sub(r.adapted)
	if since < adaptEvery {
		return
	}
	r.adapted = now
	if r.delay() > r.mostWait {
		r.now = max(r.now/2, r.floor)
		return
	}
	r.now = min(r.now*(1+growth*min(since, 10*time.Second).Seconds()), highest*r.floor)
}
