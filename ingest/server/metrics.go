package server

// Figures for Prometheus: requests, problems and panics. Their names begin with the stage's, countersign_ingest_.

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/ingest/problem"
)

type metrics struct {
	requests *prometheus.HistogramVec // seconds, by call and outcome
	problems *prometheus.CounterVec   // by kind
	panics   prometheus.Counter
}

func newMetrics() *metrics {
	return &metrics{
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "countersign_ingest_request_seconds",
			Help:    "Time from a request's head to its reply, by call and outcome.",
			Buckets: []float64{.002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300},
		}, []string{"call", "outcome"}),
		problems: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "countersign_ingest_problems_total", Help: "Error replies, by the last part of their problem type.",
		}, []string{"kind"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "countersign_ingest_panics_total", Help: "Panics caught while serving a request: each is a bug.",
		}),
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.problems, m.panics} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register the metrics of HTTP: %w", err)
		}
	}
	return nil
}

// request counts a finished request.
func (m *metrics) request(x *Exchange, took time.Duration) {
	name, outcome := "none", x.outcome
	if x.call != nil {
		name = x.call.Method + " " + x.call.Pattern
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
