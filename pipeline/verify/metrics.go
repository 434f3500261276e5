package verify

// What the stage counts, under the names that docs/operating.md lists.

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	verified  prometheus.Counter
	forwarded prometheus.Counter
	readbacks prometheus.Counter
	dead      prometheus.Counter

	undecided   prometheus.Gauge
	waited      prometheus.Histogram
	goodSeconds prometheus.Counter
	badSeconds  prometheus.Counter
	overspent   prometheus.Counter
	saved       prometheus.Counter
}

func newMetrics(r prometheus.Registerer, s *Stage) *metrics {
	f := promauto.With(r)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "countersign_verify_held_bytes", Help: "Bytes of chunks held for uploads that are not forwarded yet.",
	}, func() float64 { return float64(s.held.Load()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "countersign_verify_jobs_waiting", Help: "Jobs that wait for a worker.",
	}, func() float64 { return float64(s.jobs.Len()) })
	seconds := f.NewCounterVec(prometheus.CounterOpts{
		Name: "countersign_verify_worker_seconds_total", Help: "Seconds that workers took, by what became of the signatures.",
	}, []string{"outcome"})
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &metrics{
		verified:  counter("countersign_verify_pairs_total", "Pairs whose signature was checked, repetitions included."),
		forwarded: counter("countersign_verify_uploads_total", "Sealed uploads forwarded to the shards."),
		readbacks: counter("countersign_verify_readbacks_total", "Times an upload's chunks were read again from the log."),
		dead:      counter("countersign_verify_dead_letters_total", "Records that could not be used."),
		undecided: f.NewGauge(prometheus.GaugeOpts{
			Name: "countersign_verify_undecided_uploads", Help: "Sealed uploads whose decision was not read from the log yet.",
		}),
		waited: f.NewHistogram(prometheus.HistogramOpts{
			Name: "countersign_verify_job_wait_seconds", Help: "How long jobs waited for a worker.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}),
		goodSeconds: seconds.WithLabelValues("good"),
		badSeconds:  seconds.WithLabelValues("bad"),
		overspent: counter("countersign_verify_budget_exceeded_total",
			"Times an upload's budget of worker time did not reach all of its pairs."),
		saved: counter("countersign_verify_equal_pairs_total", "Pairs that were not checked because an equal one of the upload was."),
	}
}
