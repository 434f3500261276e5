package results

// Figures for Prometheus: what callers ask, by kind of question.

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	questions, calls, refused *prometheus.CounterVec
	waiting                   map[string]func() int // by kind; filled while the tracker is made
}

func newMetrics() *metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		options := prometheus.CounterOpts{Name: "countersign_ingest_" + name, Help: help}
		return prometheus.NewCounterVec(options, []string{"of"})
	}
	return &metrics{
		questions: counter("questions_total", "Questions of callers, by what is asked for."),
		calls:     counter("question_calls_total", "Queries that answered questions, many at once."),
		refused:   counter("questions_refused_total", "Questions that got 503, for too many waited already."),
		waiting:   make(map[string]func() int),
	}
}

// register registers all. A nil Registerer takes none.
func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	all := []prometheus.Collector{m.questions, m.calls, m.refused}
	for kind, waiting := range m.waiting {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "countersign_ingest_questions_waiting", Help: "Callers that wait for an answer now.",
			ConstLabels: prometheus.Labels{"of": kind},
		}, func() float64 { return float64(waiting()) }))
	}
	for _, c := range all {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register the metrics of questions: %w", err)
		}
	}
	return nil
}
