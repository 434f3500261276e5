package main

// The admin listener: whether the process is ready, its metrics and profiles. For operators, not for clients.

import (
	"context"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"countersign/ingest/server"
)

func (p *process) startAdmin(l net.Listener) {
	if l == nil {
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/", server.AdminHandler(p.notReady, p.metrics))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	admin := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = admin.Serve(l) }()
	p.onStop(func(ctx context.Context) { _ = admin.Shutdown(ctx) })
}

func (p *process) notReady() []string {
	if ready := p.ready.Load(); ready != nil {
		return (*ready)()
	}
	return []string{"starting"}
}
