package server

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestAdminHandler(t *testing.T) {
	registry := prometheus.NewRegistry()
	h := start(t, func(c *Config) { c.Registerer = registry })
	for range 2 {
		h.Do("POST", "/bodies/a", "[]")
	}
	h.Do("POST", "/bodies/refused", "[]")
	h.Do("GET", "/panics", nil)
	var reasons []string
	admin := AdminHandler(AdminConfig{NotReady: func() []string { return reasons }, Metrics: registry})
	get := func(path string) (int, string) {
		r := httptest.NewRecorder()
		admin.ServeHTTP(r, httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil))
		return r.Code, r.Body.String()
	}
	if code, text := get("/livez"); code != 200 || text != "ok\n" {
		t.Errorf("livez: %d %q", code, text)
	}
	if code, text := get("/readyz"); code != 200 || text != "ready\n" {
		t.Errorf("readyz: %d %q", code, text)
	}
	reasons = []string{"one", "two"}
	if code, text := get("/readyz"); code != 503 || text != "one\ntwo\n" {
		t.Errorf("readyz: %d %q", code, text)
	}
	_, text := get("/metrics")
	for _, line := range []string{
		`countersign_ingest_request_seconds_count{call="POST /bodies/:name",outcome="ok"} 2`,
		`countersign_ingest_request_seconds_count{call="POST /bodies/:name",outcome="invalid-parameter"} 1`,
		`countersign_ingest_problems_total{kind="invalid-parameter"} 1`,
		`countersign_ingest_panics_total 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
}
