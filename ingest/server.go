package ingest

// The stage: its calls, what runs beside them, and how it starts and stops.

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"countersign/ingest/admission"
	"countersign/ingest/results"
	"countersign/ingest/server"
	"countersign/ingest/web"
	"countersign/internal/pause"
)

// Server answers the API. Make one with New; its methods may be called from any goroutine.
type Server struct {
	cfg     Config
	http    *server.Server
	intake  *intake
	results *results.Tracker
	metrics *metrics

	admission *admission.Admission
	backlog   atomic.Int64 // records

	start      sync.Once
	background sync.WaitGroup  // until cancel
	running    context.Context // of what runs in the background
	cancel     context.CancelFunc
}

// New checks the configuration, every problem at once, and makes a server that does nothing yet.
func New(c Config) (*Server, error) {
	cfg, err := c.withDefaults()
	s := &Server{cfg: cfg}
	var admissionErr error
	s.admission, admissionErr = admission.New(cfg.admission())
	cfg.HTTP.Admission = s.admission
	cfg.HTTP.Logger, cfg.HTTP.Registerer = cfg.Logger, cfg.Registerer
	var httpErr error
	s.http, httpErr = server.New(cfg.HTTP, append(s.calls(), web.Calls(cfg.HTTP.PublicURL)...))
	if err := errors.Join(err, admissionErr, httpErr); err != nil {
		return nil, err
	}
	s.results, err = results.New(results.Config{
		Store: cfg.Store, Follower: cfg.Log, Shards: cfg.Shards, Alone: cfg.Alone, Poll: cfg.SyncPoll, StoreTimeout: cfg.StoreTimeout,
		Retention: cfg.Retention, Clock: cfg.Clock, Logger: cfg.Logger, Registerer: cfg.Registerer,
	})
	if err != nil {
		return nil, err
	}
	s.intake = &intake{cfg: &s.cfg, results: s.results}
	s.metrics = newMetrics()
	if err := s.metrics.register(cfg.Registerer, s); err != nil {
		return nil, err
	}
	s.running, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// calls is the API. What is for people comes from package web.
func (s *Server) calls() []server.Call {
	return []server.Call{
		{Method: http.MethodPost, Pattern: "/api/v1/asyncsign/:url", Admit: s.admitUpload},
		{Method: http.MethodPost, Pattern: "/api/v1/signasync/:url", Admit: s.admitUpload},
		{Method: http.MethodGet, Pattern: "/api/v1/resultasync/:uuid", Safe: true, Serve: s.serveStatus},
		{Method: http.MethodGet, Pattern: "/api/v1/resultasync/:uuid/:batch", Safe: true, Serve: s.serveDetails},
		{Method: http.MethodGet, Pattern: "/api/v1/sign/:url", Admit: s.admitSingle}, // not safe: it signs
		{Method: http.MethodPost, Pattern: "/api/v1/sign/:url", Admit: s.admitSyncUpload},
		{Method: http.MethodGet, Pattern: "/api/v1/hash/:hash", Safe: true, Serve: s.serveHash},
		{Method: http.MethodPost, Pattern: "/api/v1/check", Safe: true, Admit: s.admitCheck},
		{Method: http.MethodGet, Pattern: "/api/v1/certificate/:fingerprint", Safe: true, Serve: s.serveCertificate},
	}
}

// Serve answers requests from l's connections until Shutdown, and closes l.
func (s *Server) Serve(l net.Listener) error {
	s.start.Do(func() {
		s.background.Go(func() { s.results.Run(s.running) })
		s.background.Go(s.watchBacklog)
	})
	return s.http.Serve(l)
}

// ReloadCertificate reads the files of the API's own certificate again, which also happens by itself within a second of
// a change. On an error the previous certificate stays in use. Without HTTPS it does nothing.
func (s *Server) ReloadCertificate() error { return s.http.ReloadCertificate() }

// Shutdown stops: new uploads are refused and new connections too; open requests get up to Config.HTTP.DrainTimeout,
// less if ctx ends sooner; bodies still open then are aborted and answered so. What was accepted stays accepted.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	s.cancel()
	s.background.Wait()
	s.results.Close()
	return err
}

// watchBacklog keeps s.backlog no older than some seconds. While the log doesn't answer, the last number stays: uploads
// meet the log's absence themselves.
func (s *Server) watchBacklog() {
	var quietUntil time.Time // an error is logged once a minute
	for {
		ctx, cancel := context.WithTimeout(s.running, 5*time.Second)
		n, err := s.cfg.Log.Backlog(ctx)
		cancel()
		if err == nil {
			s.backlog.Store(n)
		} else if now := time.Now(); s.running.Err() == nil && now.After(quietUntil) {
			s.cfg.Logger.Warn("the log's backlog is not known", "error", err)
			quietUntil = now.Add(time.Minute)
		}
		if pause.For(s.running, time.Second) != nil {
			return
		}
	}
}
