package clickhouse

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

func engineCPU() time.Duration {
	// children of this process
	ents, _ := os.ReadDir("/proc")
	var ticks uint64
	for _, e := range ents {
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		s := string(b)
		i := strings.LastIndex(s, ")")
		f := strings.Fields(s[i+1:])
		var ppid int
		fmt.Sscan(f[1], &ppid)
		if ppid == os.Getpid() {
			var u, k uint64
			fmt.Sscan(f[11], &u)
			fmt.Sscan(f[12], &k)
			_ = k
 ticks += u
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

func TestExp(t *testing.T) {
	r := rand.NewChaCha8([32]byte{})
	rows := randomRows(r, 100_000)
	base := `CREATE TABLE signed_hashes (hash FixedString(32) CODEC(NONE), upload UUID, position UInt32, site LowCardinality(String), signed_at DateTime64(3, 'UTC'), algorithm LowCardinality(String), signature String CODEC(NONE), certificate FixedString(32)) ENGINE = ReplacingMergeTree() ORDER BY hash SETTINGS index_granularity = 256`
	for _, c := range []struct{ name, sql string }{
		{"base", base},
		{"8192", strings.Replace(base, "256", "8192", 1)},
		{"1024", strings.Replace(base, "256", "1024", 1)},
		{"MergeTree", strings.Replace(base, "ReplacingMergeTree", "MergeTree", 1)},
		{"smallbuf", base + ", max_compress_block_size=65536"},
		{"nofsync", base + ", fsync_after_insert=0, fsync_part_directory=0"},
		{"nofsync 8192 bigblock", strings.Replace(base, "256", "8192", 1) + ", fsync_after_insert=0, fsync_part_directory=0,  min_compress_block_size=1048576, max_compress_block_size=1048576"},
	} {
		db := open(t, Config{URL: newDatabase(t)})
		if err := db.conn.Exec(t.Context(), c.sql); err != nil {
			fmt.Println(err)
			continue
		}
		db.conn.Exec(t.Context(), "SYSTEM STOP MERGES signed_hashes")
		ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"optimize_on_insert": 0}))
		cpu, t0 := engineCPU(), time.Now()
		const n = 10
		for range n {
			r.Read(rows.Hash)
			if err := db.InsertHashes(ctx, rows); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Println(c.name, "wall", time.Since(t0)/n, "engine cpu", (engineCPU()-cpu)/n)
	}
}
