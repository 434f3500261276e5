package main

// What one process has told a caller another one confirms: two processes that answer the API over one log.

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"countersign/client"
	"countersign/sink/store"
	"countersign/sink/store/engine"
)

// poll returns the status of the answer about an upload.
func (n *node) poll(id uuid.UUID) int {
	r, err := http.Get("http://" + n.API + "/api/v1/resultasync/" + id.String())
	if err != nil {
		return 0
	}
	_ = r.Body.Close()
	return r.StatusCode
}

// Who was told "signed OK" by one process finds the hash at the other one, at once and every time.
func TestSignedHereIsFoundThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sign := w.ecdsa("ec.example")
	shared := append(w.args(), cluster(t)...)
	here := start(t, append(shared, "--role", "ingest,verify,sink")...)
	there := start(t, append(shared, "--role", "ingest")...)
	const signings = 200
	for i, p := range pairs("agree", 0, signings, sign) {
		if result, err := here.Sign(t.Context(), "ec.example", p.Hash, p.Signature); err != nil || result != client.Added {
			t.Fatalf("signing %d: %v, %v", i, result, err)
		}
		if reply, err := there.lookUp(p.Hash); err != nil || reply[:4] != "200 " {
			t.Errorf("signing %d is not found at the other process: %s, %v", i, reply, err)
		}
	}
	begun := time.Now()
	for reply := "503 "; reply[:4] != "404 "; { // 503 while it isn't certain
		var err error
		if reply, err = there.lookUp([32]byte{1}); err != nil || reply[:4] != "404 " && reply[:4] != "503 " {
			t.Fatalf("a hash that nobody signed: %s, %v", reply, err)
		}
		if time.Since(begun) > time.Minute {
			t.Fatal("a hash that nobody signed never gets 404")
		}
	}
	for there.poll(uuid.New()) != http.StatusNotFound { // 503 while it isn't certain
		if time.Since(begun) > time.Minute {
			t.Fatal("an upload that nobody knows never gets 404")
		}
	}
	t.Logf("that an upload is unknown was certain after %s", time.Since(begun))
	there.stop()
	here.stop()
}

// An upload that one process has accepted is never unknown to the other: while ClickHouse is away it can't tell, and
// then it knows.
func TestAcceptedHereIsKnownThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sign := w.ecdsa("ec.example")
	clickhouse, err := engine.Start(t.Context(), engine.Config{Dir: t.TempDir(), Grants: store.ServiceGrants("default")})
	must(t, err)
	t.Cleanup(func() { must(t, clickhouse.Close(context.Background())) })
	proxy := newProxy(t, clickhouse.URL())
	shared := append(append(w.args(), cluster(t)...), "--clickhouse", proxy.url())
	here := start(t, append(shared, "--role", "ingest,verify,sink")...)
	there := start(t, append(shared, "--role", "ingest")...)
	before := good("before", 1500, sign)
	here.expect(here.upload("ec.example", before), before)

	proxy.point(t, "")
	during := good("during", 1500, sign)
	id := here.upload("ec.example", during)
	for range 20 {
		if status := there.poll(id); status != http.StatusServiceUnavailable {
			t.Errorf("while ClickHouse is away: %d", status)
		}
	}
	proxy.point(t, clickhouse.URL())
	for {
		status := there.poll(id)
		if status == http.StatusOK {
			break
		}
		if status != http.StatusServiceUnavailable {
			t.Fatalf("just after ClickHouse came back: %d", status)
		}
	}
	there.expect(id, during)
	there.stop()
	here.stop()
}
