package certs

// Metrics show each bound at work: looks that wait, run, and are refused, how long they take, and what is remembered.

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	looks   *prometheus.CounterVec // by source and outcome
	running prometheus.Gauge
	seconds prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, s *Sites) *metrics {
	f := promauto.With(r)
	gauge := func(name, help string, value func() int) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(value())
		})
	}
	gauge("countersign_certs_looks_waiting", "Sites whose look has not begun.", func() (waiting int) {
		for _, a := range s.asked {
			if a.next != nil {
				waiting++
			}
		}
		return waiting
	})
	gauge("countersign_certs_leaves", "Leaf certificates that sites may be verified by now.", func() int {
		leaves, _ := s.memory.leaves(s.config.Clock())
		return leaves
	})
	gauge("countersign_certs_sites", "Sites of which a leaf certificate is known.", func() int {
		_, sites := s.memory.leaves(s.config.Clock())
		return sites
	})
	gauge("countersign_certs_memory_bytes", "Bytes that the known chains count as.", func() int { return s.memory.bytes })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "countersign_certs_keys_bytes", Help: "Bytes that prepared keys may take, with their tables.",
	}, func() float64 { return float64(s.keys.bytes()) })
	if s.network != nil && r != nil {
		r.MustRegister(s.network.limiter.visits)
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "countersign_certs_visits_waiting", Help: "Visits to addresses of sites that wait for their turn.",
		}, func() float64 { return float64(s.network.limiter.waiting()) })
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "countersign_certs_handshakes_waiting", Help: "TLS handshakes that wait for a processor.",
		}, func() float64 { return float64(s.network.processors.waiting()) })
	}
	return &metrics{
		looks: f.NewCounterVec(prometheus.CounterOpts{
			Name: "countersign_certs_looks_total",
			Help: "Looks at sites by source (network or file) and outcome: found, partial (some addresses gave nothing), " +
				"unavailable, dropped (nobody waited any more when its turn came), refused (too many waited).",
		}, []string{"source", "outcome"}),
		running: f.NewGauge(prometheus.GaugeOpts{
			Name: "countersign_certs_looks_running", Help: "Looks over the network that have begun and not ended.",
		}),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "countersign_certs_look_seconds",
			Help:    "Duration of looks over the network, the wait for their turn not counted.",
			Buckets: []float64{.01, .03, .1, .3, 1, 3, 10},
		}),
	}
}

// counted counts a look that began. One that ended with Close counts nowhere.
func (m *metrics) counted(source string, partial bool, err error) {
	outcome := "found"
	switch {
	case errors.Is(err, ErrClosed):
		return
	case partial:
		outcome = "partial"
	case err != nil:
		outcome = "unavailable"
	}
	m.looks.WithLabelValues(source, outcome).Inc()
}
