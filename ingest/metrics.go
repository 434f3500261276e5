package ingest

// Figures for Prometheus: bodies and pairs, and what is open. Requests are counted by package server.

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	pairs  prometheus.Counter
	bytes  prometheus.Counter
	bodies prometheus.Histogram // seconds
	untold prometheus.Counter
}

func newMetrics() *metrics {
	return &metrics{
		pairs: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "countersign_ingest_pairs_total", Help: "Pairs in accepted uploads, single signings included.",
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "countersign_ingest_body_bytes_total", Help: "Bytes of bodies received, as sent.",
		}),
		untold: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "countersign_ingest_untold_uploads_total", Help: "Accepted uploads of which other processes were not told.",
		}),
		bodies: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "countersign_ingest_body_seconds", Help: "Time from the opening of a body to its seal.",
			Buckets: []float64{.005, .02, .1, .5, 1, 2, 5, 10, 30, 60, 300, 600},
		}),
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
		m.pairs, m.bytes, m.bodies, m.untold,
		gauge("open_uploads", "Bodies being received.", func() float64 { return float64(s.admission.Uploads.Held()) }),
		gauge("open_sync_calls", "Synchronous calls being served.", func() float64 { return float64(s.admission.Calls.Held()) }),
		gauge("backlog_records", "Records that wait in the log.", func() float64 { return float64(s.backlog.Load()) }),
		gauge("unrecorded_uploads", "Accepted uploads whose row is not stored yet.",
			func() float64 { return float64(s.results.Unrecorded()) }),
	} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register ingest's metrics: %w", err)
		}
	}
	return nil
}

// received counts a body.
func (m *metrics) received(bytes int64, took time.Duration) {
	m.bytes.Add(float64(bytes))
	m.bodies.Observe(took.Seconds())
}
