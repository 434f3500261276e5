package main

// Starting and stopping. Parts start in the order in which they need each other and stop in the reverse order; each
// start pushes its stop. Ports are bound first, so that a port in use shows before anything is written.

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"countersign/internal/health"
)

const (
	stopTimeout  = 30 * time.Second // for all of an orderly stop
	startTimeout = 60 * time.Second // for ClickHouse to answer

	logPatience   = 3 * time.Second // a partition's leader may move for so long before readiness says no
	storePatience = 3 * time.Second // and a connection to ClickHouse may break, or its one question be slow
)

// process is one running service, or some roles of one. Its fields belong to the goroutine that starts and stops it,
// but for log, failed, reloads, board and stopping, which are safe for concurrent use.
type process struct {
	cfg     *config
	log     *slog.Logger
	metrics *prometheus.Registry
	failed  chan error // capacity 1: the first part that ended by itself
	stops   []func(context.Context)
	reloads *reloader

	checks   []health.Check               // of the parts that were started: each part appends its own
	board    atomic.Pointer[health.Board] // nil while starting
	broken   bool                         // a part failed, so that nothing is worth waiting for
	stopping atomic.Pointer[string]       // why readiness says no from now on; nil: the process doesn't stop
}

// serve runs until ctx ends or a part fails, and then stops what was started. At each of hangUps it reads settings
// again, by load.
func serve(ctx context.Context, cfg *config, hangUps <-chan os.Signal, load func() (*config, error)) error {
	level := new(slog.LevelVar)
	p := &process{cfg: cfg, log: cfg.logger(level), metrics: prometheus.NewRegistry(), failed: make(chan error, 1)}
	p.reloads = &reloader{log: p.log, level: level, started: cfg, load: load}
	defer p.reloads.watch(hangUps)()
	p.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo())
	syscall.Umask(0o077) // what the service writes is nobody else's to read
	if cfg.MemoryLimit > 0 {
		debug.SetMemoryLimit(int64(cfg.MemoryLimit))
	}
	err := p.start(ctx)
	if err == nil {
		select {
		case <-ctx.Done():
			p.log.Info("stopping")
		case err = <-p.failed:
			p.log.Error("stopping, because a part failed", "error", err)
		}
	}
	p.beginStop(err)
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	for _, stop := range slices.Backward(p.stops) {
		stop(stopCtx)
	}
	return err
}

// beginStop has readiness say no. err is why a part failed, nil if the stop is an orderly one.
func (p *process) beginStop(err error) {
	reason := "stopping"
	if p.broken = err != nil; p.broken {
		reason += ", because a part failed: " + strings.Join(strings.Fields(err.Error()), " ") // on one line
	}
	p.stopping.Store(&reason)
}

func (p *process) onStop(stop func(context.Context)) { p.stops = append(p.stops, stop) }

// background runs a part until the service stops it. Before that, in an orderly stop, drain may wait for its work to be
// done.
func (p *process) background(name string, drain, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil && ctx.Err() == nil {
			p.fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
	p.onStop(func(stopCtx context.Context) {
		if p.broken {
			p.log.Info("stopping before all is done; the log keeps the rest", "part", name)
		} else if err := drain(stopCtx); err != nil {
			p.log.Info("stopping before all is done; the log keeps the rest", "part", name, "error", err)
		}
		cancel()
		<-done
	})
}

func (p *process) fail(err error) {
	select {
	case p.failed <- err:
	default:
	}
}

func (p *process) start(ctx context.Context) error {
	api, err := p.listen("--listen", p.cfg.Listen, p.cfg.has(roleIngest))
	if err != nil {
		return err
	}
	admin, err := p.listen("--admin-listen", p.cfg.AdminListen, p.cfg.AdminListen != "")
	if err != nil {
		return err
	}
	p.startAdmin(admin)
	db, err := p.startStore(ctx)
	if err != nil {
		return err
	}
	l, err := p.startLog(ctx)
	if err != nil {
		return err
	}
	if err := p.checkShards(ctx, db, l); err != nil {
		return err
	}
	p.startSink(db, l)
	if err := p.startVerify(l); err != nil {
		return err
	}
	if err := p.startIngest(api, db, l); err != nil {
		return err
	}
	p.startBoard(func() {
		p.log.Info("ready", "roles", p.cfg.Role, "listen", address(api), "admin", address(admin), "shards", l.shards)
	})
	return nil
}

// startBoard begins to ask the parts that were started whether they can do their work. ready is called once, when all of
// them can.
func (p *process) startBoard(ready func()) {
	board := health.New(health.Config{Checks: p.checks, Logger: p.log, Registerer: p.metrics})
	p.board.Store(board)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { board.Run(ctx) })
	running.Go(func() {
		if board.AwaitReady(ctx) == nil {
			ready()
		}
	})
	p.onStop(func(context.Context) {
		cancel()
		running.Wait()
	})
}

// notReady says why this process should get no requests now, one sentence a reason; nil: it should.
func (p *process) notReady() []string {
	board := p.board.Load()
	if stopping := p.stopping.Load(); stopping != nil {
		return []string{*stopping}
	}
	if board == nil {
		return []string{"starting"}
	}
	return board.Reasons()
}

// failing says why a check fails; nil: it doesn't, or nobody has asked it yet.
func (p *process) failing(check string) error {
	if board := p.board.Load(); board != nil {
		return board.Failing(check)
	}
	return nil
}

func address(l net.Listener) string {
	if l == nil {
		return ""
	}
	return l.Addr().String()
}

// listen binds a port, or says how to get it.
func (p *process) listen(flag, address string, wanted bool) (net.Listener, error) {
	if !wanted {
		return nil, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("can't listen where %s says: %w; stop the program that has the port, or choose another", flag, err)
	}
	p.onStop(func(context.Context) { _ = l.Close() })
	return l, nil
}
