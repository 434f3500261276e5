package sink

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countersign/pipeline/log"
	"countersign/sink/store"
)

// BenchmarkBuildFilters is the time until a sink that has all shards is ready, over a real ClickHouse with 10 million
// hashes (COUNTERSIGN_BENCH_HASHES for another number; 48 bytes of disk each), and the processor time that it takes.
func BenchmarkBuildFilters(b *testing.B) {
	hashes := 10_000_000
	if n, err := strconv.Atoi(os.Getenv("COUNTERSIGN_BENCH_HASHES")); err == nil {
		hashes = n
	}
	const shards, step = 4, 2_000_000
	db := realStore(b)
	for from := 0; from < hashes; from += step {
		err := db.Exec(b.Context(), "INSERT INTO owners (hash, upload, position, site, signed_at)"+
			" SELECT SHA256(toString(number)), toUUID('00000000-0000-0000-0000-000000000001'), toUInt32(number), 'bench.example', now64(3)"+
			" FROM numbers("+strconv.Itoa(from)+", "+strconv.Itoa(min(step, hashes-from))+")")
		if err != nil {
			b.Fatal(err)
		}
	}
	db.MoveOldRows(b.Context()) // there are none
	settle(b, db)
	b.ResetTimer()
	ours, engines := cpuTime(), childrenTime(b)
	for range b.N {
		ctx, cancel := context.WithCancel(b.Context())
		left := new(atomic.Int32)
		left.Store(shards)
		c := newWorld(shards).config()
		c.Store = onlyStore{db}
		c.Consume = func(ctx context.Context, handle handler) error {
			var all sync.WaitGroup
			for id := range shards {
				all.Go(func() { handle(ctx, &empty{id, left, cancel}) })
			}
			all.Wait()
			return nil
		}
		if err := Run(ctx, c); err != nil {
			b.Fatal(err)
		}
	}
	perHash := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(b.N) / float64(hashes) }
	b.ReportMetric(perHash(cpuTime()-ours), "cpu-ns/hash")
	b.ReportMetric(perHash(childrenTime(b)-engines), "engine-cpu-ns/hash")
	b.ReportMetric(perHash(b.Elapsed()), "ns/hash")
}

// empty is a partition without records. The last one from which the stage fetches ends the stage.
type empty struct {
	id   int
	left *atomic.Int32
	end  context.CancelFunc
}

func (e *empty) ID() int      { return e.id }
func (e *empty) Start() int64 { return 0 }
func (e *empty) Commit(int64) {}

func (e *empty) Fetch(ctx context.Context) ([]log.Message, error) {
	if e.left.Add(-1) == 0 {
		e.end()
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (e *empty) ReadRange(context.Context, int64, int64, func(log.Message) error) error {
	return log.ErrOffsetGone
}

// settle waits until ClickHouse merges nothing.
func settle(b *testing.B, db *store.DB) {
	for merges := uint64(1); merges > 0; time.Sleep(time.Second) {
		err := db.Select(b.Context(), "SELECT count() FROM system.merges", func(scan func(...any) error) error { return scan(&merges) })
		if err != nil {
			b.Fatal(err)
		}
	}
}

// childrenTime is the processor time that the children of this process have taken so far.
func childrenTime(b testing.TB) (total time.Duration) {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		b.Fatal(err)
	}
	for _, list := range lists {
		pids, _ := os.ReadFile(list)
		for pid := range strings.FieldsSeq(string(pids)) {
			stat, _ := os.ReadFile("/proc/" + pid + "/stat")
			_, rest, _ := strings.Cut(string(stat), ") ")
			fields := strings.Fields(rest)
			for _, ticks := range fields[11:13] { // user and system, 100 a second
				n, _ := strconv.Atoi(ticks)
				total += time.Duration(n) * 10 * time.Millisecond
			}
		}
	}
	return total
}
