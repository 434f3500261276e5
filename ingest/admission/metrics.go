package admission

// Figures for Prometheus: what each bound does.

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Names of what there is only so much of: values of label gate, and of the RateLimit fields.
const (
	nameUploads     = "uploads"
	nameCalls       = "calls"
	nameChecks      = "checks"
	nameConnections = "connections"
	nameUndecided   = "undecided"
	nameArrivals    = "arrivals"
	nameRequests    = "requests"
)

const (
	waitingHelp = "Requests that wait for a place or a turn, and connections that wait for their turn to be read."
	largestHelp = "Places taken by the client that holds most; of gates arrivals and requests, turns that it waits for."
)

type metrics struct {
	outcomes *prometheus.CounterVec
	waits    *prometheus.HistogramVec
}

// gateCounts are the counters of one gate.
type gateCounts struct {
	granted, waited, overShare, full, slow, recalled prometheus.Counter
	wait                                             prometheus.Observer // seconds
}

func newMetrics() *metrics {
	return &metrics{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "countersign_ingest_admission_total",
			Help: "Decisions on places, by gate and outcome: granted at once, granted after it waited, refused_share (429), refused_full (503), " +
				"evicted (a slow place taken back), recalled (one above a share taken back).",
		}, []string{"gate", "outcome"}),
		waits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "countersign_ingest_admission_wait_seconds", Help: "Time that requests waited for a place, those not counted that didn't wait.",
			Buckets: []float64{.01, .025, .05, .1, .2, .3, .4, .5, .75, 1, 2},
		}, []string{"gate"}),
	}
}

func (m *metrics) gate(name string) gateCounts {
	count := func(outcome string) prometheus.Counter { return m.outcomes.WithLabelValues(name, outcome) }
	return gateCounts{
		granted: count("granted"), waited: count("waited"), overShare: count("refused_share"), full: count("refused_full"),
		slow: count("evicted"), recalled: count("recalled"), wait: m.waits.WithLabelValues(name),
	}
}

func (c *gateCounts) refused(r *Refusal) {
	if r.Reason == OverShare {
		c.overShare.Inc()
	} else {
		c.full.Inc()
	}
}

// register registers all, and gauges over a.
func (m *metrics) register(r prometheus.Registerer, a *Admission) error {
	if r == nil {
		return nil
	}
	all := []prometheus.Collector{m.outcomes, m.waits}
	gauge := func(name, help, gate string, value func() int64) {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "countersign_ingest_admission_" + name, Help: help, ConstLabels: prometheus.Labels{"gate": gate},
		}, func() float64 { return float64(value()) }))
	}
	taken := func(gate string, held, largest func() int64) {
		gauge("held", "Places taken; of gate undecided, records.", gate, held)
		gauge("largest_holder", largestHelp, gate, largest)
	}
	for _, g := range append([]*Gate{a.Uploads, a.Calls, a.Checks}, a.Replies.places()...) {
		taken(g.name, func() int64 { return int64(g.Held()) }, g.largest)
		gauge("waiting", waitingHelp, g.name, g.lineLength)
	}
	taken(nameConnections,
		func() int64 { open, _ := a.Connections.count(); return int64(open) },
		func() int64 { _, largest := a.Connections.count(); return int64(largest) })
	taken(nameUndecided,
		func() int64 { total, _ := a.Ledger.count(); return total },
		func() int64 { _, largest := a.Ledger.count(); return largest })
	for _, p := range []*Pace{a.Arrivals, a.Requests} {
		gauge("waiting", waitingHelp, p.name, p.waiting)
		gauge("largest_holder", largestHelp, p.name, p.largest)
		gauge("rate", "Turns a second while several clients ask; it falls while the processors are full.", p.name,
			func() int64 { return int64(p.perSecond()) })
	}
	for _, c := range all {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register admission's metrics: %w", err)
		}
	}
	return nil
}

// largest is how many places the client has that holds most.
func (g *Gate) largest() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	most := 0
	for _, a := range g.clients {
		most = max(most, a.held)
	}
	return int64(most)
}

func (g *Gate) lineLength() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return int64(len(g.waiting))
}
