package verify

// What the stage counts, under the names that docs/operating.md lists.

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	verified  prometheus.Counter
	forwarded prometheus.Counter
	readbacks prometheus.Counter
	dead      prometheus.Counter
}

func newMetrics(r prometheus.Registerer, held *atomic.Int64) *metrics {
	f := promauto.With(r)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "countersign_verify_held_bytes", Help: "Bytes of chunks held for uploads that are not forwarded yet.",
	}, func() float64 { return float64(held.Load()) })
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &metrics{
		verified:  counter("countersign_verify_pairs_total", "Pairs whose signature was checked, repetitions included."),
		forwarded: counter("countersign_verify_uploads_total", "Sealed uploads forwarded to the shards."),
		readbacks: counter("countersign_verify_readbacks_total", "Times an upload's chunks were read again from the log."),
		dead:      counter("countersign_verify_dead_letters_total", "Records that could not be used."),
	}
}
