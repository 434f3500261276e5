package ingest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/ingest/internal/ingesttest"
	"countersign/ingest/server"
)

// What operators see: metrics of requests and uploads, and whether the process should get requests.
func TestMetricsAndReadiness(t *testing.T) {
	registry := prometheus.NewRegistry()
	h := start(t, func(c *Config) { c.Registerer = registry })
	h.done(h.upload(site, pairs(0, 2500, 8)))
	h.Do("POST", "/api/v1/asyncsign/"+site, "x")
	admin := server.AdminHandler(server.AdminConfig{NotReady: h.NotReady, Metrics: registry})
	get := func(path string) (int, string) {
		r := httptest.NewRecorder()
		admin.ServeHTTP(r, httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil))
		return r.Code, r.Body.String()
	}
	if code, text := get("/readyz"); code != 200 || text != "ready\n" {
		t.Errorf("readyz: %d %q", code, text)
	}
	_, text := get("/metrics")
	for _, line := range []string{
		`countersign_ingest_pairs_total 2500`,
		`countersign_ingest_problems_total{kind="malformed-body"} 1`,
		`countersign_ingest_request_seconds_count{call="POST /api/v1/asyncsign/:url",outcome="accepted"} 1`,
		`countersign_ingest_request_seconds_count{call="POST /api/v1/asyncsign/:url",outcome="malformed-body"} 1`,
		`countersign_ingest_open_uploads 0`,
		fmt.Sprintf(`countersign_ingest_body_bytes_total %d`, len(pairs(0, 2500, 8))+1),
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	if err := h.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	ingesttest.Until(t, "readiness says that the API shuts down", func() bool {
		code, text := get("/readyz")
		return code == 503 && strings.Contains(text, "shuts down")
	})
}
