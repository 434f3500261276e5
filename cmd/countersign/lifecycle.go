package main

// Starting and stopping. Parts start in the order in which they need each other and stop in the reverse order; each
// start pushes its stop. Ports are bound first, so that a port in use shows before anything is written.

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

const (
	stopTimeout  = 30 * time.Second // for all of an orderly stop
	startTimeout = 60 * time.Second // for ClickHouse to answer
)

// process is one running service, or some roles of one. Its fields belong to the goroutine that starts and stops it,
// but for log, failed and ready, which are safe for concurrent use.
type process struct {
	cfg     *config
	log     *slog.Logger
	metrics *prometheus.Registry
	failed  chan error // capacity 1: the first part that ended by itself
	stops   []func(context.Context)
	ready   atomic.Pointer[func() []string] // nil while starting
}

// serve runs until ctx ends or a part fails, and then stops what was started.
func serve(ctx context.Context, cfg *config) error {
	s := &process{cfg: cfg, log: cfg.logger(), metrics: prometheus.NewRegistry(), failed: make(chan error, 1)}
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if cfg.MemoryLimit > 0 {
		debug.SetMemoryLimit(int64(cfg.MemoryLimit))
	}
	err := s.start(ctx)
	if err == nil {
		select {
		case <-ctx.Done():
			s.log.Info("stopping")
		case err = <-s.failed:
			s.log.Error("stopping, because a part failed", "error", err)
		}
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	for _, stop := range slices.Backward(s.stops) {
		stop(stopCtx)
	}
	return err
}

func (s *process) onStop(stop func(context.Context)) { s.stops = append(s.stops, stop) }

// background runs a part until the service stops it; before it is cancelled, drain may wait for its work to be done.
func (s *process) background(name string, drain, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil && ctx.Err() == nil {
			s.fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
	s.onStop(func(stopCtx context.Context) {
		if err := drain(stopCtx); err != nil {
			s.log.Info("stopping before all is done; the log keeps the rest", "part", name, "error", err)
		}
		cancel()
		<-done
	})
}

func (s *process) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

func (s *process) start(ctx context.Context) error {
	api, err := s.listen("--listen", s.cfg.Listen, s.cfg.has(roleIngest))
	if err != nil {
		return err
	}
	admin, err := s.listen("--admin-listen", s.cfg.AdminListen, s.cfg.AdminListen != "")
	if err != nil {
		return err
	}
	s.startAdmin(admin)
	db, err := s.startStore(ctx)
	if err != nil {
		return err
	}
	l, err := s.startLog(ctx)
	if err != nil {
		return err
	}
	if err := s.checkShards(ctx, db, l); err != nil {
		return err
	}
	s.startSink(db, l)
	if err := s.startVerify(l); err != nil {
		return err
	}
	if err := s.startIngest(api, db, l); err != nil {
		return err
	}
	s.log.Info("ready", "roles", s.cfg.Role, "listen", address(api), "admin", address(admin), "shards", l.shards)
	return nil
}

func address(l net.Listener) string {
	if l == nil {
		return ""
	}
	return l.Addr().String()
}

// listen binds a port, or says how to get it.
func (s *process) listen(flag, address string, wanted bool) (net.Listener, error) {
	if !wanted {
		return nil, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("can't listen where %s says: %w; stop the program that has the port, or choose another", flag, err)
	}
	s.onStop(func(context.Context) { _ = l.Close() })
	return l, nil
}
