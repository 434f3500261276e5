package sink

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/pipeline/record/recordpb"
)

// gate holds calls to the store of some names until open is closed.
type gate struct {
	names []string
	open  chan struct{}
}

// hold makes w's calls of these names wait. It must be called before the stage starts.
func (w *world) hold(names ...string) *gate {
	g := &gate{names, make(chan struct{})}
	w.before = func(ctx context.Context, call string) {
		if !slices.Contains(g.names, call) {
			return
		}
		select {
		case <-g.open:
		case <-ctx.Done():
		}
	}
	return g
}

// made returns the calls of one name that took effect, in order.
func (w *world) made(name string) (calls []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if strings.HasPrefix(c, name+" ") {
			calls = append(calls, c)
		}
	}
	return calls
}

// commits returns the committed offsets, by partition.
func (w *world) commits() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.committed)
}

// announcedEvents returns the events that were sent, in order.
func (w *world) announcedEvents() []*recordpb.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

func (w *world) numberOfEvents() int { return len(w.announcedEvents()) }

// want fails the test unless the calls of one name were exactly these numbers of rows.
func (w *world) want(t *testing.T, name string, rows ...int) {
	t.Helper()
	var want []string
	for _, n := range rows {
		want = append(want, fmt.Sprintf("%s %d", name, n))
	}
	if got := w.made(name); !slices.Equal(got, want) {
		t.Errorf("calls: %q, want %q", got, want)
	}
}

// metric is the sum over the children of one counter or gauge.
func metric(t *testing.T, g prometheus.Gatherer, name string) (sum float64) {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "countersign_sink_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
		return sum
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}
