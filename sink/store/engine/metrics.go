package engine

import "github.com/prometheus/client_golang/prometheus"

// metrics of an engine.
type metrics struct {
	ends    *prometheus.CounterVec
	private prometheus.Gauge
}

func newMetrics() metrics {
	return metrics{
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "countersign_engine_ends_total",
			Help: "Times that the embedded engine's process ended by itself, after it listened (crashed) or before (failed to start).",
		}, []string{"how"}),
		private: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "countersign_engine_own_network", Help: "1 where the embedded engine has a network namespace of its own, 0 where it shares loopback.",
		}),
	}
}

// register makes the metrics known, once the engine runs in its network.
func (m metrics) register(r prometheus.Registerer, n network) {
	for _, how := range []string{"crashed", "failed to start"} {
		m.ends.WithLabelValues(how)
	}
	if n != sharedNetwork {
		m.private.Set(1)
	}
	if r != nil {
		r.MustRegister(m.ends, m.private)
	}
}
