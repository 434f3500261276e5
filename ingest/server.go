package ingest

// The server: what runs beside the requests, and how it starts and stops.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"countersign/ingest/problem"
)

// Server answers the API. Make one with New; its methods may be called from any goroutine.
type Server struct {
	cfg      Config
	routes   []*route
	http     *fasthttp.Server
	intake   *intake
	recorder *recorder
	hub      *hub
	waiter   *waiter
	metrics  *metrics
	keys     *keyPair // nil without HTTPS
	closing  lingering

	uploads chan struct{} // a token for each open body; capacity MaxUploads
	syncs   chan struct{} // a token for each synchronous call; capacity MaxSync

	backlog   atomic.Int64
	following atomic.Bool
	serving   atomic.Bool
	draining  atomic.Bool

	base context.Context // of every request; ends with errStopping when open bodies are to be aborted
	stop context.CancelCauseFunc

	background sync.WaitGroup // follow, watch the backlog, record; until cancel
	start      sync.Once
	running    context.Context
	cancel     context.CancelFunc
}

// New checks the configuration, every problem at once, and makes a server that does nothing yet.
func New(c Config) (*Server, error) {
	cfg, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, hub: newHub(), metrics: newMetrics(),
		uploads: make(chan struct{}, cfg.MaxUploads), syncs: make(chan struct{}, cfg.MaxSync),
	}
	s.closing.timeout, s.closing.bytes = cfg.LingerTimeout, cfg.LingerBytes
	if cfg.TLSCert != "" {
		if s.keys, err = newKeyPair(cfg.TLSCert, cfg.TLSKey, cfg.Logger); err != nil {
			return nil, err
		}
	}
	if err := s.metrics.register(cfg.Metrics, s); err != nil {
		return nil, err
	}
	s.recorder = newRecorder(cfg.Store.InsertUploads, cfg.Logger, cfg.MaxUnrecorded)
	s.intake = &intake{cfg: &s.cfg, recorder: s.recorder}
	s.waiter = &waiter{cfg: &s.cfg, hub: s.hub, askers: make(chan struct{}, maxAskers), following: s.following.Load}
	s.routes = newRoutes(append(calls(), webCalls()...))
	s.base, s.stop = context.WithCancelCause(context.Background())
	s.running, s.cancel = context.WithCancel(context.Background())
	s.http = s.newHTTP()
	return s, nil
}

// calls lists the API; webCalls has what is for people.
func calls() []call {
	return []call{
		{method: http.MethodPost, pattern: "/api/v1/asyncsign/:url", admit: (*exchange).admitUpload, serve: serveUpload},
		{method: http.MethodPost, pattern: "/api/v1/signasync/:url", admit: (*exchange).admitUpload, serve: serveUpload},
		{method: http.MethodGet, pattern: "/api/v1/resultasync/:uuid", safe: true, serve: serveStatus},
		{method: http.MethodGet, pattern: "/api/v1/resultasync/:uuid/:batch", safe: true, serve: serveDetails},
		{method: http.MethodGet, pattern: "/api/v1/sign/:url", admit: (*exchange).admitSingle, serve: serveSingle}, // not safe: it signs
		{method: http.MethodPost, pattern: "/api/v1/sign/:url", admit: (*exchange).admitSyncUpload, serve: serveSyncUpload},
		{method: http.MethodGet, pattern: "/api/v1/hash/:hash", safe: true, serve: serveHash},
		{method: http.MethodGet, pattern: "/api/v1/certificate/:fingerprint", safe: true, serve: serveCertificate},
	}
}

// Run listens on Config.Listen and serves until ctx is done, then shuts down within Config.DrainTimeout and a few seconds.
func (s *Server) Run(ctx context.Context) error {
	l, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen for HTTP on %s: %w (is the port in use? --listen names another)", s.cfg.Listen, err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	select {
	case err = <-served:
		served <- nil
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.DrainTimeout+5*time.Second)
	defer cancel()
	return errors.Join(err, s.Shutdown(stop), <-served)
}

// Serve answers requests from l's connections until Shutdown, and closes l.
func (s *Server) Serve(l net.Listener) error {
	s.start.Do(func() {
		s.background.Go(s.follow)
		s.background.Go(s.watchBacklog)
		s.background.Go(func() { s.recorder.run(s.running) })
	})
	tooMany := problem.TooManyConnections(s.cfg.MaxConnections)
	wrapped := &listener{
		Listener: l, how: &s.closing, max: s.cfg.MaxConnections, refusal: bareReply(tooMany), refused: func() { s.metrics.problem(tooMany) },
		leaving: make(chan struct{}, maxLeaving),
	}
	defer wrapped.left.Wait()
	if s.keys != nil {
		wrapped.tls = s.keys.config()
	}
	s.serving.Store(true)
	s.cfg.Logger.Info("serving the API", "address", l.Addr().String(), "https", s.keys != nil)
	if err := s.http.Serve(wrapped); err != nil {
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	}
	return nil
}

// NotReady says why the server should get no requests now; empty: it should.
func (s *Server) NotReady() []string {
	var reasons []string
	if !s.serving.Load() {
		reasons = append(reasons, "the API does not listen yet")
	}
	if s.draining.Load() {
		reasons = append(reasons, "the API shuts down")
	} else if !s.following.Load() {
		reasons = append(reasons, "topic events can't be followed: is Kafka there?")
	}
	return reasons
}

// Shutdown stops: new uploads are refused and new connections too; open requests get up to Config.DrainTimeout, less if ctx ends
// sooner; bodies still open then are aborted and answered so. What was accepted stays accepted.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	grace := s.cfg.DrainTimeout
	if end, ok := ctx.Deadline(); ok {
		grace = min(grace, time.Until(end)*3/4)
	}
	timer := time.AfterFunc(grace, s.abortOpen)
	err := s.http.ShutdownWithContext(ctx)
	timer.Stop()
	s.abortOpen()
	s.cancel()
	s.background.Wait()
	if err != nil {
		return fmt.Errorf("shut down the API: requests were still open: %w", err)
	}
	return nil
}

// abortOpen ends open bodies and waits.
func (s *Server) abortOpen() {
	s.closing.stop.Store(true)
	s.stop(errStopping)
}

// follow feeds the hub.
func (s *Server) follow() {
	pause := 100 * time.Millisecond
	for s.running.Err() == nil {
		err := s.cfg.Log.Follow(s.running, func() { s.following.Store(true); pause = 100 * time.Millisecond }, func(value []byte) {
			if err := s.hub.feed(value); err != nil {
				s.cfg.Logger.Warn("an event can't be read", "error", err)
			}
		})
		s.following.Store(false)
		if s.running.Err() != nil {
			return
		}
		s.cfg.Logger.Warn("following topic events stopped: trying again", "in", pause, "error", err)
		sleep(s.running, pause)
		pause = min(2*pause, 5*time.Second)
	}
}

// watchBacklog keeps s.backlog no older than some seconds. While the log doesn't answer it stays what it was: uploads find out
// themselves.
func (s *Server) watchBacklog() {
	for {
		ctx, cancel := context.WithTimeout(s.running, 5*time.Second)
		n, err := s.cfg.Log.Backlog(ctx)
		cancel()
		if err == nil {
			s.backlog.Store(n)
		} else if s.running.Err() == nil {
			s.cfg.Logger.Warn("the log's backlog is not known", "error", err)
		}
		if !sleep(s.running, time.Second) {
			return
		}
	}
}
