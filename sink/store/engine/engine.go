package engine

// An Engine from its start to its end. The goroutine that runs the child is in supervise.go.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Config says what runs the embedded engine, and where its data is.
type Config struct {
	// Dir holds data, configuration and lock. It is made when it is missing.
	Dir string
	// Binary is a clickhouse binary to run. Default: the library is used, unless there is none and PATH has a
	// clickhouse.
	Binary string
	// Lib is a libchdb.so to load. Default: FindLib looks for it. If both are given, Binary is used.
	Lib string
	// MemoryLimit bounds the engine's memory in bytes. Queries beyond it fail, and may be tried again. Default
	// DefaultMemory.
	MemoryLimit int64
	// Logger receives what the engine prints. Default: nothing is logged.
	Logger *slog.Logger
}

// DefaultMemory bounds the engine's memory, in bytes, where nothing else is said.
const DefaultMemory = 4 << 30

const (
	startTimeout = 60 * time.Second // old parts are checked at the start: a large database takes a while
	stopTimeout  = 30 * time.Second // how long the engine may take to end in order
	portTries    = 5
)

func (c Config) withDefaults() (Config, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.MemoryLimit == 0 {
		c.MemoryLimit = DefaultMemory
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return c, fmt.Errorf("engine directory %s: %w", c.Dir, err)
	}
	c.Dir = dir
	return c, nil
}

// Engine is a running embedded engine. Its methods may be called concurrently.
type Engine struct {
	cfg     Config
	program program
	port    int
	lock    *os.File
	out     *childLog

	listening chan struct{} // closed when a child first says that it listens
	said      sync.Once     // closes listening

	stopping context.Context // ends when the engine is asked to end: no child is started any more
	stop     context.CancelFunc

	mu    sync.Mutex
	child *os.Process // the last one started, nil before the first; guarded by mu
	stdin *os.File    // its end ends the child; guarded by mu

	done chan struct{} // closed by supervise at its end
	err  error         // why the last child ended; written by supervise, and readable once done is closed
}

// Start starts an engine on cfg.Dir and returns when it listens. ctx bounds the start only. The caller closes the
// Engine.
func Start(ctx context.Context, cfg Config) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	program, err := findProgram(cfg)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(ctx, cfg.Dir)
	if err != nil {
		return nil, err
	}
	for range portTries {
		var port int
		if port, err = freePort(); err != nil {
			break
		}
		var e *Engine
		if e, err = startOn(ctx, port, cfg, program, lock); err == nil {
			return e, nil
		}
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, errors.Join(err, lock.Close())
}

// errPortTaken says that someone else got the port between choosing it and listening on it.
var errPortTaken = errors.New("the chosen port was taken meanwhile")

// startOn makes one attempt, on a port that was free a moment ago.
func startOn(ctx context.Context, port int, cfg Config, program program, lock *os.File) (*Engine, error) {
	if err := writeConfig(cfg, port); err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, program: program, port: port, lock: lock,
		out: &childLog{logger: cfg.Logger}, listening: make(chan struct{}), done: make(chan struct{}),
	}
	e.stopping, e.stop = context.WithCancel(context.Background())
	go e.supervise()
	if err := e.waitListening(ctx); err != nil {
		e.askToEnd()
		e.kill()
		<-e.done
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	cfg.Logger.Info("embedded ClickHouse is ready", "pid", e.child.Pid, "port", port, "dir", cfg.Dir)
	return e, nil
}

// freePort returns a loopback port that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("engine: no free port on 127.0.0.1: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// waitListening returns when the child says that it listens. It doesn't try to connect: another server on the port
// could be taken for the engine then. A child that doesn't get its port says so and ends.
func (e *Engine) waitListening(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("it did not listen within %v", startTimeout))
	defer cancel()
	select {
	case <-e.listening:
		return nil
	case <-e.done:
		return e.startError()
	case <-ctx.Done():
		return fmt.Errorf("engine on %s: %w; its output: %s", e.cfg.Dir, context.Cause(ctx), e.out.tail())
	}
}

// startError says why the child ended before it listened.
func (e *Engine) startError() error {
	out := e.out.tail()
	if strings.Contains(out, "Address already in use") {
		return errPortTaken
	}
	return fmt.Errorf("the embedded engine ended at its start (%w): %s", e.err, out)
}

// URL returns the data source name that a ClickHouse client connects to. It stays the same when a child is replaced.
func (e *Engine) URL() string {
	// Profile events would be sent with each answer and read by nobody.
	return "clickhouse://127.0.0.1:" + strconv.Itoa(e.port) + "/default?send_profile_events=0"
}

// Done is closed when the engine has ended for good: after Close, or when its children kept dying.
func (e *Engine) Done() <-chan struct{} { return e.done }

// Err says why the engine ended by itself. It is nil while the engine runs and after a Close in order.
func (e *Engine) Err() error {
	select {
	case <-e.done:
	default:
		return nil
	}
	if e.err == nil {
		return nil
	}
	return fmt.Errorf("the embedded engine ended (%w): %s", e.err, e.out.tail())
}

// Close ends the engine in order, and by force when ctx ends first or half a minute went by. It returns when the engine
// is gone and its directory is free. Connections to the engine should be closed before. Only the first call reports an
// error; later ones wait for the end.
func (e *Engine) Close(ctx context.Context) error {
	if first := e.askToEnd(); !first {
		<-e.done
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	var err error
	select {
	case <-e.done:
	case <-ctx.Done():
		e.kill()
		<-e.done
		err = fmt.Errorf("the embedded engine did not end in time and was killed; its stored rows are safe: %w", ctx.Err())
	}
	return errors.Join(err, e.lock.Close())
}

// askToEnd asks the child to end, keeps another one from being started, and says whether this was the first call.
func (e *Engine) askToEnd() (first bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	first = e.stopping.Err() == nil
	e.stop()
	if e.stdin != nil {
		e.stdin.Close()
	}
	return first
}

func (e *Engine) kill() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.child != nil {
		_ = e.child.Kill() // fails only when the child is gone, which is what was wanted
	}
}
