package server

// The operator's listener: is the process alive, should it get requests, how is it doing. Separate from the API so that
// it needs no public port, and independent of it so that a process without this role has one too.

import (
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// AdminHandler serves GET /livez (the process runs), /readyz (notReady gives no reason; else 503 with one reason a
// line) and /metrics.
func AdminHandler(notReady func() []string, metrics prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { adminReply(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if reasons := notReady(); len(reasons) > 0 {
			adminReply(w, http.StatusServiceUnavailable, strings.Join(reasons, "\n"))
			return
		}
		adminReply(w, http.StatusOK, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	return mux
}

func adminReply(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text + "\n")) // the client went away: nobody is left to answer
}
