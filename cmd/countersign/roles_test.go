package main

// Several processes that share a log and a store: one role each, and groups whose members come and go. They need a
// Kafka that several processes can reach, so they run where KAFKA_BROKERS says one is; scripts/test.sh starts it.

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"countersign/client"
	"countersign/internal/service"
	"countersign/pipeline/log/embedded"
	"countersign/sink/store"
	"countersign/sink/store/engine"
)

// cluster returns the settings of processes that share the test's Kafka and an engine of their own. Without
// KAFKA_BROKERS the log is the embedded broker, in this process.
func cluster(t *testing.T) []string {
	t.Helper()
	clickhouse, err := engine.Start(t.Context(), engine.Config{Dir: t.TempDir(), Grants: store.ServiceGrants("default")})
	must(t, err)
	t.Cleanup(func() { must(t, clickhouse.Close(context.Background())) })
	args := []string{"--clickhouse", clickhouse.URL()}
	if kafka := logArgs(t); kafka != nil {
		return append(args, kafka...)
	}
	broker, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), Address: "127.0.0.1:0"})
	must(t, err)
	t.Cleanup(func() { must(t, broker.Close()) })
	return append(args, "--kafka", strings.Join(broker.Brokers(), ","), "--kafka-replication", "1")
}

func TestOneRoleAProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sign := w.ecdsa("ec.example")
	shared := append(w.args(), cluster(t)...)
	role := func(name string) *node { return start(t, append(shared, "--role", name)...) }
	ingest := role("ingest")
	verify, sink := role("verify"), role("sink")
	known := good("known", 500, sign)
	ingest.expect(ingest.upload("ec.example", known), known)
	mixed := mixedEntries(t, "roles", 20_000, sign, known)
	ingest.expect(ingest.upload("ec.example", mixed), mixed)
	for _, n := range []*node{ingest, verify, sink} {
		n.stop()
	}
}

func TestMembersOfTheGroupsComeAndGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sign := w.ecdsa("ec.example")
	shared := append(w.args(), cluster(t)...)
	role := func(name string) *node { return start(t, append(shared, "--role", name)...) }
	ingest := role("ingest")
	stay := []*node{role("verify"), role("sink")}
	known := good("known", 500, sign)
	ingest.expect(ingest.upload("ec.example", known), known)

	const rounds, each = 2, 4
	bodies := make([][]entry, rounds*each)
	for i := range bodies {
		bodies[i] = mixedEntries(t, fmt.Sprint("groups", i), 5000, sign, known)
	}
	ids := make([]uuid.UUID, len(bodies))
	for round := range rounds { // the second member of each group stops in order, and the next one by a crash
		var wg sync.WaitGroup
		accepted := make(chan struct{}, each)
		send := func(i int) {
			wg.Go(func() {
				ids[i] = ingest.upload("ec.example", bodies[i])
				accepted <- struct{}{}
			})
		}
		next := round * each
		send(next) // while the members join
		verify, sink := role("verify"), role("sink")
		verify.says("partitions assigned")
		sink.says("partitions assigned")
		send(next + 1) // while they work
		send(next + 2)
		<-accepted
		<-accepted
		send(next + 3) // while they leave
		verify.stop()
		sink.Kill()
		wg.Wait()
	}
	for i, id := range ids {
		ingest.expect(id, bodies[i])
	}
	for _, n := range append(stay, ingest) {
		n.stop()
	}
}

// ClickHouse away: uploads are accepted, polls are told to come back, and the backlog drains when it is there again.
func TestClickHouseAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sign := w.ecdsa("ec.example")
	clickhouse, err := engine.Start(t.Context(), engine.Config{Dir: t.TempDir(), Grants: store.ServiceGrants("default")})
	must(t, err)
	defer func() { must(t, clickhouse.Close(context.Background())) }()
	proxy := newProxy(t, clickhouse.URL())
	n := start(t, append(append(w.args(), logArgs(t)...), "--data-dir", t.TempDir(), "--clickhouse", proxy.url())...)
	before := good("before", 2500, sign)
	id := n.upload("ec.example", before)
	n.expect(id, before)

	proxy.point(t, "")
	during := good("during", 2500, sign)
	waiting := n.upload("ec.example", during)
	// What the process knows by itself is told. Where it has to ask, it says when to come back.
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		r, err := oneByOne().Get("http://" + n.API + "/api/v1/resultasync/" + waiting.String())
		must(t, err)
		var s client.Status
		err = json.NewDecoder(r.Body).Decode(&s)
		_ = r.Body.Close()
		if r.StatusCode == http.StatusServiceUnavailable && r.Header.Get("Retry-After") != "" {
			break
		}
		if r.StatusCode != http.StatusOK || err != nil || s.Done() || time.Now().After(end) {
			t.Fatalf("a poll got %d, Retry-After %q, %+v, %v", r.StatusCode, r.Header.Get("Retry-After"), s, err)
		}
	}

	proxy.point(t, clickhouse.URL())
	n.expect(waiting, during)
	again := as(duplicate, during)
	n.expect(n.upload("ec.example", again), again)
	n.stop()
}

// Kafka away: 503 and never a 200.
func TestKafkaAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sign := w.ecdsa("ec.example")
	shared := append(w.args(), "--data-dir", t.TempDir())
	broker, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), Address: "127.0.0.1:0"})
	must(t, err)
	n := start(t, append(shared, "--kafka", broker.Brokers()[0], "--kafka-replication", "1")...)
	entries := good("x", 1500, sign)
	n.expect(n.upload("ec.example", entries), entries)
	must(t, broker.Close())
	if status := n.post(body(entries)); status != http.StatusServiceUnavailable {
		t.Errorf("an upload got %d while Kafka was away", status)
	}
}

// What can't be started says so, names the remedy, and exits non-zero.
func TestWhatCantStartSaysWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	data := t.TempDir()
	n := start(t, append(w.args(), "--data-dir", data)...)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"port in use":      {[]string{"--listen", n.API, "--data-dir", t.TempDir()}, "choose another"},
		"data dir in use":  {[]string{"--data-dir", data}, data},
		"data dir a file":  {[]string{"--data-dir", w.roots}, w.roots},
		"bad settings":     {[]string{"--shards", "0", "--role", "cook"}, "--role cook"},
		"no such cert dir": {[]string{"--cert-roots", "nowhere.pem", "--data-dir", t.TempDir()}, "nowhere.pem"},
	} {
		t.Run(name, func(t *testing.T) { refuses(t, c.want, c.args...) })
	}
	n.stop()
	t.Run("another number of shards", func(t *testing.T) { refuses(t, "--shards 4", "--data-dir", data, "--shards", "5") })
	t.Run("a schema from the future", func(t *testing.T) {
		clickhouse, err := engine.Start(t.Context(), engine.Config{Dir: t.TempDir(), Grants: store.ServiceGrants("default")})
		must(t, err)
		defer func() { must(t, clickhouse.Close(context.Background())) }()
		db, err := store.Open(t.Context(), store.Config{URL: clickhouse.URL()})
		must(t, err)
		defer db.Close()
		must(t, db.Migrate(t.Context()))
		must(t, db.Exec(t.Context(), "INSERT INTO schema_migrations (version, name) SELECT 999, 'from the future'"))
		refuses(t, "999", "--clickhouse", clickhouse.URL(), "--data-dir", t.TempDir())
	})
}

// refuses runs a process that must end by itself, with a failure that holds a text.
func refuses(t *testing.T, want string, args ...string) {
	t.Helper()
	p, err := service.Start(t.Context(), program(nil, args...))
	if err == nil {
		p.Kill()
		t.Fatal("the process starts")
	}
	if !strings.Contains(err.Error(), "ended before it was ready: exit status 1") || !strings.Contains(err.Error(), want) {
		t.Errorf("no end with %q, but: %v", want, err)
	}
}
