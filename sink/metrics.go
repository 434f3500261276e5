package sink

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/sink/dedupe"
)

// metrics are the stage's, all named countersign_sink_*.
type metrics struct {
	rows          *prometheus.CounterVec // by table
	claims        *prometheus.CounterVec // by verdict
	lookups       *prometheus.CounterVec // by answer
	flush         prometheus.Histogram
	retries       prometheus.Counter
	deadLetters   prometheus.Counter
	eventsDropped prometheus.Counter
	pendingBytes  prometheus.Gauge
	filterBytes   prometheus.Gauge
	filters       *prometheus.CounterVec // by source

	// children, looked up once
	tables        map[string]prometheus.Counter
	verdicts      [dedupe.Cosigned + 1]prometheus.Counter
	found, absent prometheus.Counter

	filtersKept, filtersBuilt prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "countersign", Subsystem: "sink", Name: name, Help: help})
	}
	vector := func(name, label, help string) *prometheus.CounterVec {
		o := prometheus.CounterOpts{Namespace: "countersign", Subsystem: "sink", Name: name, Help: help}
		return prometheus.NewCounterVec(o, []string{label})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "countersign", Subsystem: "sink", Name: name, Help: help})
	}
	m := &metrics{
		rows: vector("rows_total", "table", "Rows inserted, replays included."),
		claims: vector("claims_total", "verdict",
			"Claims resolved: added, replayed (added before, by the same claim), duplicate (of the same site's or of another's)."),
		lookups: vector("lookups_total", "answer",
			"Hashes that the filter took for stored and that were looked up: found, or absent (the filter's false positives)."),
		flush: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "countersign", Subsystem: "sink", Name: "flush_seconds",
			Help:    "From the first insert of a flush to the last one's success, retries included.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)}),
		retries:       counter("retries_total", "Calls to ClickHouse that failed and were tried again."),
		deadLetters:   counter("dead_letters_total", "Records that could not be decoded and were left out."),
		eventsDropped: counter("events_dropped_total", "Events that were not sent."),
		pendingBytes:  gauge("pending_bytes", "Memory of fetched records and of rows that are not stored yet."),
		filterBytes:   gauge("filter_bytes", "Memory of filters, those of shards that were just revoked included, and of recent rows."),
		filters: vector("filters_total", "source",
			"Filters of assigned shards: built from ClickHouse, or kept since this process had the shard before."),
	}
	m.tables = make(map[string]prometheus.Counter)
	for _, table := range []string{"signatures", "owners", "cosigners", "exceptions", "outcomes", "uploads", "certificates"} {
		m.tables[table] = m.rows.WithLabelValues(table)
	}
	m.verdicts[dedupe.Added] = m.claims.WithLabelValues("added")
	m.verdicts[dedupe.Replayed] = m.claims.WithLabelValues("replayed")
	m.verdicts[dedupe.Duplicate] = m.claims.WithLabelValues("duplicate")
	m.verdicts[dedupe.Cosigned] = m.verdicts[dedupe.Duplicate]
	m.found, m.absent = m.lookups.WithLabelValues("found"), m.lookups.WithLabelValues("absent")
	m.filtersKept, m.filtersBuilt = m.filters.WithLabelValues("kept"), m.filters.WithLabelValues("built")
	if r == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.rows, m.claims, m.lookups, m.flush, m.retries, m.deadLetters, m.eventsDropped, m.pendingBytes, m.filterBytes, m.filters,
	} {
		errs = append(errs, r.Register(c))
	}
	return m, errors.Join(errs...)
}

func (m *metrics) count(verdicts []dedupe.Verdict) {
	var count [dedupe.Cosigned + 1]int
	for _, v := range verdicts {
		count[v]++
	}
	for v := dedupe.Added; v <= dedupe.Cosigned; v++ {
		m.verdicts[v].Add(float64(count[v]))
	}
}

func (m *metrics) lookedUp(asked, found int) {
	m.found.Add(float64(found))
	m.absent.Add(float64(max(0, asked-found))) // an answer may hold what another assignment of the shard asked for
}

func (m *metrics) flushed(f *flush, took time.Duration) {
	m.flush.Observe(took.Seconds())
	for table, n := range map[string]int{
		"signatures": f.hashes.Len(), "owners": f.hashes.Len(), "cosigners": f.cosigned.Len(), "exceptions": len(f.exceptions),
		"outcomes": len(f.results), "uploads": len(f.uploads), "certificates": len(f.certificates),
	} {
		m.tables[table].Add(float64(n))
	}
}
