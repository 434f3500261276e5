package server

// The operator's listener: is the process alive, should it get requests, how is it doing. Separate from the API so that
// it needs no public port, and independent of it so that a process without this role has one too.

import (
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// AdminConfig says what AdminHandler serves, and to whom.
type AdminConfig struct {
	// NotReady says why the process should get no requests now, one sentence a reason; empty: it should. Required.
	NotReady func() []string
	// Metrics are shown at /metrics. Required.
	Metrics prometheus.Gatherer
	// Hosts are the names and addresses that a request's Host may name, beside those that are always allowed: see
	// hostAllowed. Without a port; case doesn't matter.
	Hosts []string
	// Pprof serves profiles of the process. They show names of functions and what memory holds, and cost processor time.
	Pprof bool
}

// AdminHandler serves GET /livez (the process runs), /readyz (NotReady gives no reason; else 503 with one reason a
// line), /metrics and, with Pprof, /debug/pprof/. A request whose Host is not allowed gets 421.
func AdminHandler(c AdminConfig) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { adminReply(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if reasons := c.NotReady(); len(reasons) > 0 {
			adminReply(w, http.StatusServiceUnavailable, strings.Join(reasons, "\n"))
			return
		}
		adminReply(w, http.StatusOK, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.Metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	if c.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index) // not pprof.Cmdline: flags may hold passwords
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	} else {
		mux.HandleFunc("/debug/pprof/", func(w http.ResponseWriter, _ *http.Request) {
			adminReply(w, http.StatusNotFound, "profiles are switched off: start the service with --pprof")
		})
	}
	return checkHost(c.Hosts, mux)
}

func adminReply(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text + "\n")) // the client went away: nobody is left to answer
}
