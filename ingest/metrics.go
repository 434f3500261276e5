package ingest

// Figures for Prometheus.

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/ingest/problem"
)

type metrics struct {
	requests *prometheus.HistogramVec // seconds, by call and outcome
	problems *prometheus.CounterVec   // by kind
	pairs    prometheus.Counter
	bytes    prometheus.Counter
	bodies   prometheus.Histogram // seconds
	panics   prometheus.Counter
}

func newMetrics() *metrics {
	name := func(n string) string { return "countersign_ingest_" + n }
	return &metrics{
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name("request_seconds"), Help: "Time from a request's head to its reply, by call and outcome.",
			Buckets: []float64{.002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300},
		}, []string{"call", "outcome"}),
		problems: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: name("problems_total"), Help: "Error replies, by the last part of their problem type.",
		}, []string{"kind"}),
		pairs: prometheus.NewCounter(prometheus.CounterOpts{Name: name("pairs_total"), Help: "Pairs in accepted uploads, single signings included."}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{Name: name("body_bytes_total"), Help: "Bytes of bodies received, as sent."}),
		bodies: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name("body_seconds"), Help: "Time from the opening of a body to its seal.",
			Buckets: []float64{.005, .02, .1, .5, 1, 2, 5, 10, 30, 60, 300, 600},
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: name("panics_total"), Help: "Panics caught while serving a request: each is a bug."}),
	}
}

// register registers all, and gauges over s.
func (m *metrics) register(r prometheus.Registerer, s *Server) error {
	if r == nil {
		return nil
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "countersign_ingest_" + name, Help: help}, value)
	}
	for _, c := range []prometheus.Collector{
		m.requests, m.problems, m.pairs, m.bytes, m.bodies, m.panics,
		gauge("open_uploads", "Bodies being received.", func() float64 { return float64(len(s.uploads)) }),
		gauge("open_sync_calls", "Synchronous calls being served.", func() float64 { return float64(len(s.syncs)) }),
		gauge("backlog_records", "Records that wait in the log.", func() float64 { return float64(s.backlog.Load()) }),
		gauge("unrecorded_uploads", "Accepted uploads whose row is not stored yet.", func() float64 { return float64(s.recorder.size()) }),
	} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register ingest's metrics: %w", err)
		}
	}
	return nil
}

// request counts a finished request.
func (m *metrics) request(x *exchange, took time.Duration) {
	name, outcome := "none", x.outcome
	if x.call != nil {
		name = x.call.method + " " + x.call.pattern
	}
	switch {
	case x.problem != nil:
		outcome = x.problem.Kind
	case outcome == "":
		outcome = "ok"
	}
	m.requests.WithLabelValues(name, outcome).Observe(took.Seconds())
}

func (m *metrics) problem(p *problem.Problem) { m.problems.WithLabelValues(p.Kind).Inc() }

func (m *metrics) received(bytes int64, took time.Duration) {
	m.bytes.Add(float64(bytes))
	m.bodies.Observe(took.Seconds())
}
