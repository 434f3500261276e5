package main

// The admin listener: whether the process is ready, its metrics and profiles. For operators, not for clients.

import (
	"context"
	"net"
	"net/http"
	"time"

	"countersign/ingest/server"
)

func (p *process) startAdmin(l net.Listener) {
	if l == nil {
		return
	}
	admin := &http.Server{
		Handler: server.AdminHandler(server.AdminConfig{
			NotReady: p.notReady, Metrics: p.metrics, Hosts: append([]string{p.cfg.AdminListen}, p.cfg.AdminHost...), Pprof: p.cfg.Pprof,
		}),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	go func() { _ = admin.Serve(l) }()
	p.onStop(func(ctx context.Context) { _ = admin.Shutdown(ctx) })
}
