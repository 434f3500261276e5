package main

// Several ClickHouse shards under a running service.

import (
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"countersign/pipeline/record"
	"countersign/sink/store"
	"countersign/sink/store/engine/clustertest"
)

// One of two ClickHouse shards is killed and comes back. Uploads are accepted meanwhile, hashes of the other one are found,
// and in the end each pair has become what it must, once.
func TestAShardOfClickHouseIsKilled(t *testing.T) {
	t.Parallel()
	pair := clustertest.Start(t, 2, append(store.ServiceGrants("default"), store.ClusterGrants()...))
	n, uploads, _ := underWork(t, append(logArgs(t), "--data-dir", t.TempDir(),
		"--clickhouse", pair.URL(), "--clickhouse-cluster", clustertest.Name)...)
	known := uploads.accepted[0]

	const killed = 0 // that which the service is connected to
	pair.Kill(killed)
	uploads.send(n, 2500)
	again := knownUpload{n.upload(uploads.site, known.entries), as(duplicate, known.entries)}
	n.saysUnready("store")
	uploads.send(n, 2500)
	if len(uploads.accepted) != 3 {
		t.Errorf("%d of 3 uploads were accepted", len(uploads.accepted))
	}
	// They are asked for at once, so that many are one query.
	var all sync.WaitGroup
	for _, e := range known.entries[:64] {
		hash, err := hex.DecodeString(e.hash)
		must(t, err)
		all.Go(func() {
			want := http.StatusOK
			if record.Shard(hash, 2) == killed {
				want = http.StatusServiceUnavailable
			}
			if reply, err := n.lookUp([32]byte(hash)); err != nil || !strings.HasPrefix(reply, strconv.Itoa(want)) {
				t.Errorf("hash %s: %s, %v, want %d", e.hash, reply, err, want)
			}
		})
	}
	all.Wait()

	pair.StartAgain(killed)
	n.saysReady()
	uploads.check(n)
	n.expect(again.id, again.entries)
	uploads.send(n, 1200)
	uploads.check(n)
	hashes := 0
	for _, u := range uploads.accepted {
		hashes += len(u.entries)
	}
	for view, want := range map[string]int{"v_signed_hashes": hashes, "v_uploads": len(uploads.accepted) + 1} {
		said, err := output("query", "--clickhouse", pair.URL(), "SELECT count() AS n FROM "+view)
		if err != nil || strings.TrimSpace(said) != "n: "+strconv.Itoa(want) {
			t.Errorf("%s: %s, %v, want %d", view, said, err, want)
		}
	}
	n.stop()
}
