package main

// The admin listener.

import (
	"context"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"countersign/ingest"
)

func (s *process) startAdmin(l net.Listener) {
	if l == nil {
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/", ingest.AdminHandler(s.notReady, s.metrics))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }()
	s.onStop(func(ctx context.Context) { _ = server.Shutdown(ctx) })
}

func (s *process) notReady() []string {
	if ready := s.ready.Load(); ready != nil {
		return (*ready)()
	}
	return []string{"starting"}
}
