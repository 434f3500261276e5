package sink

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"countersign/pipeline/log"
)

// member is a process whose assignments a test makes.
type member struct {
	w        *world
	ready    chan struct{} // closed when handle and ctx are set
	ctx      context.Context
	handle   handler
	handles  sync.WaitGroup
	registry *prometheus.Registry
}

// join starts a process with configuration c.
func (w *world) join(t testing.TB, c Config) (*member, *running) {
	m := &member{w: w, ready: make(chan struct{}), registry: prometheus.NewRegistry()}
	c.Registerer = m.registry
	c.Consume = func(ctx context.Context, handle handler) error {
		m.ctx, m.handle = ctx, handle
		close(m.ready)
		<-ctx.Done()
		m.handles.Wait()
		return nil
	}
	r := start(t, c)
	<-m.ready
	return m, r
}

// assign gives the member a shard until revoke is called, which returns when the member has let go of it.
func (m *member) assign(shard int) (revoke func()) {
	ctx, cancel := context.WithCancel(m.ctx)
	done := make(chan struct{})
	m.handles.Go(func() {
		defer close(done)
		m.w.assign(ctx, m.handle, shard)
	})
	return func() { cancel(); <-done }
}

// filters is how many filters the member built, and how many it used again.
func (m *member) filters(t interface{ Fatal(...any) }) (built, kept float64) {
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "countersign_sink_filters_total" {
			continue
		}
		for _, metric := range f.GetMetric() {
			if metric.GetLabel()[0].GetValue() == "kept" {
				kept = metric.GetCounter().GetValue()
			} else {
				built = metric.GetCounter().GetValue()
			}
		}
	}
	return built, kept
}

func (m *member) wantFilters(t *testing.T, built, kept float64) {
	t.Helper()
	if b, k := m.filters(t); b != built || k != kept {
		t.Errorf("%g filters were built and %g kept, want %g and %g", b, k, built, kept)
	}
}

// store produces a record of claims by one upload to hashes of shard 0 of 1, and waits until it is committed.
func (w *world) store(t *testing.T, upload byte, batch uint32, hashes ...int) {
	t.Helper()
	var all [][32]byte
	for _, n := range hashes {
		all = append(all, hashOf(0, 1, n))
	}
	w.produce(0, block(part(upload, batch, 0, 0, all...)))
	if !w.await(w.drained) {
		t.Fatalf("not all is committed: %v", w.commits())
	}
}

// A shard that comes back is not read from the store again, and what was stored before is a duplicate.
func TestFilterIsKept(t *testing.T) {
	w := newWorld(1)
	m, r := w.join(t, w.config())
	revoke := m.assign(0)
	w.store(t, 1, 1, 1, 2)
	for n := range byte(3) {
		revoke()
		revoke = m.assign(0)
		w.store(t, 2+n, 1, 1, 10+int(n))
	}
	r.end(w)
	m.wantFilters(t, 1, 3)
	compare(t, w)
}

// A shard of which nothing was walked is kept, too: the record before its first one is known.
func TestFilterOfAnIdleShardIsKept(t *testing.T) {
	w := newWorld(1)
	m, r := w.join(t, w.config())
	m.assign(0)
	w.store(t, 1, 1, 1, 2)
	r.end(w)
	m, r = w.join(t, w.config())
	revoke := m.assign(0)
	if !w.await(func() bool { built, _ := m.filters(t); return built == 1 }) {
		t.Fatal("no filter was built")
	}
	revoke()
	m.assign(0)
	w.store(t, 2, 1, 1, 3)
	r.end(w)
	m.wantFilters(t, 1, 1)
	compare(t, w)
}

// What another process stored while it had the shard is in the filter that was kept.
func TestFilterLearnsWhatOthersStored(t *testing.T) {
	w := newWorld(1)
	first, r1 := w.join(t, w.config())
	second, r2 := w.join(t, w.config())
	revoke := first.assign(0)
	w.store(t, 1, 1, 1, 2)
	revoke()
	revoke = second.assign(0)
	w.produce(0, []byte("not a record"))
	w.store(t, 2, 1, 1, 3)
	w.store(t, 3, 1, 4)
	revoke()
	revoke = first.assign(0)
	w.store(t, 4, 1, 3, 5)
	revoke()
	second.assign(0)
	w.store(t, 5, 1, 4, 5, 6)
	r1.end(w)
	r2.end(w)
	first.wantFilters(t, 1, 1)
	second.wantFilters(t, 1, 1)
	compare(t, w)
}

// A log whose last walked record is another one, or is gone, has lost records: what followed it may be stored, so the
// filter is built again.
func TestFilterOfAnotherLogIsDropped(t *testing.T) {
	for name, lose := range map[string]func(w *world, other func()){
		"another record":    func(w *world, other func()) { w.lose(1); other() },
		"another, and more": func(w *world, other func()) { w.lose(1); other(); other() },
		"the same bytes, sent later": func(w *world, other func()) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.log[0][1].Time = w.log[0][1].Time.Add(time.Millisecond)
		},
		"none":          func(w *world, _ func()) { w.lose(1) },
		"none for long": func(w *world, _ func()) { w.lose(2) },
		"deleted by retention": func(w *world, _ func()) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.first[0] = 2
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(1)
				m, r := w.join(t, w.config())
				revoke := m.assign(0)
				w.store(t, 1, 1, 1)
				w.store(t, 1, 2, 2)
				revoke()
				batch := uint32(0)
				lose(w, func() {
					other, r := w.join(t, w.config())
					batch++
					other.assign(0)
					w.store(t, 2, batch, 2+int(batch))
					r.end(w)
				})
				revoke = m.assign(0)
				w.store(t, 3, 1, 1, 2, 3, 4)
				revoke()
				m.wantFilters(t, 2, 0)
				r.end(w) // no hash was given a second owner; rows of lost records are there, so the log is no model of them
			})
		})
	}
}

// lose takes the last n records from log 0, as brokers do that lose records: the group goes back with it.
func (w *world) lose(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log[0] = w.log[0][:len(w.log[0])-n]
	w.committed[0] = min(w.committed[0], int64(len(w.log[0])))
}

// A filter that nobody takes is dropped, and its memory is given back.
func TestKeptFilterExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		m, r := w.join(t, w.config())
		revoke := m.assign(0)
		w.store(t, 1, 1, 1)
		revoke()
		time.Sleep(keepFor - time.Second)
		if metric(t, m.registry, "filter_bytes") == 0 {
			t.Error("the filter is not kept")
		}
		time.Sleep(2 * time.Second)
		if got := metric(t, m.registry, "filter_bytes"); got != 0 {
			t.Errorf("%g bytes are kept for ever", got)
		}
		m.assign(0)
		w.store(t, 2, 1, 1, 2)
		r.end(w)
		m.wantFilters(t, 2, 0)
		compare(t, w)
	})
}

// I4 with filters that are kept: shards go back and forth between two processes, which may have them both at once, over a
// store that fails and commits that are lost. The rows are those of the log.
func TestMembersFightForShards(t *testing.T) {
	var reused atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		shards := rapid.IntRange(1, 2).Draw(rt, "shards")
		source, w := newWorld(shards), newWorld(shards)
		drawLog(rt, source)
		w.perFetch = rapid.IntRange(0, 4).Draw(rt, "records a fetch")
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "faults"), 0))
		share := rapid.SampledFrom([]int{0, 3}).Draw(rt, "faults of 10")
		w.fault = func(string) fault { // called under w.mu
			if rnd.IntN(10) >= share {
				return works
			}
			return fault(rnd.IntN(2) + 1)
		}
		var members []*member
		var runs []*running
		for range 2 {
			c := w.config()
			c.DrainTimeout = rapid.SampledFrom([]time.Duration{1, time.Second}).Draw(rt, "drain")
			c.MaxFlushRows = rapid.SampledFrom([]int{1, 1000}).Draw(rt, "rows a flush")
			m, r := w.join(t, c)
			members, runs = append(members, m), append(runs, r)
		}
		revokes := make([][]func(), shards) // of those who have the shard, or believe so
		assign := func(shard int) {
			owner := members[rapid.IntRange(0, 1).Draw(rt, "owner")]
			revokes[shard] = append(revokes[shard], owner.assign(shard))
		}
		revoke := func(shard int) {
			for _, f := range revokes[shard] {
				f()
			}
			revokes[shard] = nil
		}
		for range rapid.IntRange(2, 8).Draw(rt, "turns") {
			for id, log := range source.log {
				n := rapid.IntRange(0, len(log)).Draw(rt, "records that come")
				for _, m := range log[:n] {
					w.produce(id, m.Value)
				}
				source.log[id] = log[n:]
			}
			shard := rapid.IntRange(0, shards-1).Draw(rt, "moves")
			switch rapid.SampledFrom([]string{"stored", "at once", "both", "set back"}).Draw(rt, "how") {
			case "stored":
				if len(revokes[shard]) > 0 && !w.await(func() bool { return w.committed[shard] == int64(len(w.log[shard])) }) {
					rt.Fatalf("not all is committed: %v", w.commits())
				}
				revoke(shard)
			case "at once":
				revoke(shard)
			case "both":
				if len(revokes[shard]) > 1 {
					revoke(shard)
				}
			case "set back":
				revoke(shard)
				w.mu.Lock()
				w.committed[shard] = rapid.Int64Range(0, w.committed[shard]).Draw(rt, "committed")
				w.mu.Unlock()
			}
			assign(shard)
		}
		for shard := range shards {
			revoke(shard)
			assign(shard)
		}
		if !w.await(w.drained) {
			rt.Fatalf("not all is committed: %v", w.commits())
		}
		for i, r := range runs {
			r.end(w)
			_, kept := members[i].filters(rt)
			reused.Add(int64(kept))
		}
		compare(rt, w)
	})
	if reused.Load() == 0 {
		t.Error("no filter was used again")
	}
}

// A record that can't be read back in time is a doubt, and doesn't hold up the shard.
func TestReadingBackHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		m, r := w.join(t, w.config())
		revoke := m.assign(0)
		w.store(t, 1, 1, 1)
		revoke()
		hanging := func(ctx context.Context, p Partition) error { return m.handle(ctx, hangingPartition{p}) }
		ctx, cancel := context.WithCancel(m.ctx)
		m.handles.Go(func() { w.assign(ctx, hanging, 0) })
		w.store(t, 2, 1, 1, 2)
		cancel()
		r.end(w)
		m.wantFilters(t, 2, 0)
		compare(t, w)
	})
}

// hangingPartition is one that can't be read again.
type hangingPartition struct{ Partition }

func (hangingPartition) ReadRange(ctx context.Context, _, _ int64, _ func(log.Message) error) error {
	<-ctx.Done()
	return fmt.Errorf("read again: %w", ctx.Err())
}
