package engine

// An Engine from its start to its end. The goroutine that runs the child is in supervise.go.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/internal/fdpass"
)

// Config says what runs the embedded engine, and where its data is.
type Config struct {
	// Dir holds data, configuration, socket and lock. It is made when it is missing, and closed to other users.
	Dir string
	// Binary is a clickhouse binary to run. Default: the library is used, unless there is none and PATH has a
	// clickhouse.
	Binary string
	// Lib is a libchdb.so to load. Default: FindLib looks for it. If both are given, Binary is used.
	Lib string
	// LibDigest is the SHA-256, in lower-case hex, that the library must have. Default: the constant LibDigest.
	LibDigest string
	// MemoryLimit bounds the engine's memory in bytes. Queries beyond it fail, and may be tried again. Default: what
	// UsualMemory gives.
	MemoryLimit int64
	// Grants are what the user of URL may do: ClickHouse's GRANT statements without their first word and without the
	// user, such as "SELECT ON default.*". Default: nothing.
	Grants []string
	// AnalystGrants are what the user of AnalystURL may do, within the bounds of that user. Default: nothing.
	AnalystGrants []string
	// SharedNetwork leaves the engine in the network of this process, as where the kernel makes no network namespaces.
	SharedNetwork bool
	// Logger receives what the engine prints. Default: nothing is logged.
	Logger *slog.Logger
	// Registerer gets the metrics. Default: nobody does.
	Registerer prometheus.Registerer
}

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
		c.MemoryLimit = UsualMemory()
	}
	if c.LibDigest == "" {
		c.LibDigest = LibDigest
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return c, fmt.Errorf("engine directory %s: %w", c.Dir, err)
	}
	c.Dir = dir
	return c, nil
}

// errShared is the reason to share the network where the caller asked for that.
var errShared = errors.New("it was asked for")

// Engine is a running embedded engine. Its methods may be called concurrently.
type Engine struct {
	cfg       Config
	metrics   metrics
	program   program
	network   network
	port      int // in that network
	passwords passwords
	lock      *os.File
	socket    *os.File // the Unix socket's listener, for the children; nil in a shared network
	lib       *os.File // the library that was checked; nil with a binary
	out       *childLog

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
	e, err := prepare(ctx, cfg)
	if err != nil {
		return nil, err
	}
	for range portTries {
		if err = e.choosePort(); err != nil {
			break
		}
		if err = e.start(ctx); err == nil {
			return e, nil
		}
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, errors.Join(err, e.release())
}

// prepare finds what the engine needs, and takes its directory. The caller releases it.
func prepare(ctx context.Context, cfg Config) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Engine{cfg: cfg, metrics: newMetrics(), passwords: newPasswords()}
	if e.program, err = findProgram(cfg); err != nil {
		return nil, err
	}
	if e.lock, err = lockDir(ctx, cfg.Dir, cfg.Logger); err != nil {
		return nil, err
	}
	if err := e.setUp(ctx); err != nil {
		return nil, errors.Join(err, e.release())
	}
	return e, nil
}

// setUp opens what the children inherit, and decides on their network.
func (e *Engine) setUp(ctx context.Context) (err error) {
	if e.program.lib != "" {
		if e.lib, err = openLibrary(e.program.lib, e.cfg.LibDigest, e.cfg.Dir); err != nil {
			return err
		}
	}
	code := makesCode()
	if !code {
		e.cfg.Logger.Info("this process may make no machine code (MemoryDenyWriteExecute=yes, or the like): " +
			"the embedded ClickHouse compiles no queries, which slows large ones down")
	}
	if err := writeUsers(e.cfg, e.passwords, code); err != nil {
		return err
	}
	reason := errShared
	if !e.cfg.SharedNetwork {
		e.network, reason = findNetwork(ctx)
	}
	if reason != nil {
		e.cfg.Logger.Warn("embedded ClickHouse shares the loopback of this machine: other users of the machine can't read or change "+
			"its data, but can make it restart; "+sharedRemedy, "error", oneLine(reason))
		return nil
	}
	return e.listen()
}

// listen makes the Unix socket on which children pass connections. It outlives them: who connects while a child is
// replaced waits for the next one.
func (e *Engine) listen() error {
	l, err := fdpass.Listen(socketPath(e.cfg.Dir))
	if err != nil {
		return dirError(e.cfg.Dir, err)
	}
	defer l.Close() // File is another descriptor of it
	if e.socket, err = l.File(); err != nil {
		return fmt.Errorf("engine socket: %w", err)
	}
	return nil
}

// socketPath is the Unix socket that passes connections to the engine.
func socketPath(dir string) string { return filepath.Join(dir, "engine.sock") }

// release gives back what prepare took. No child runs.
func (e *Engine) release() error {
	var errs []error
	if e.socket != nil {
		errs = append(errs, e.socket.Close(), os.Remove(socketPath(e.cfg.Dir)))
	}
	if e.lib != nil {
		errs = append(errs, e.lib.Close())
	}
	return errors.Join(append(errs, e.lock.Close())...)
}

// errPortTaken says that someone else got the port between choosing it and listening on it.
var errPortTaken = errors.New("the chosen port was taken meanwhile")

// choosePort sets the port: a free one, or the fixed one in a network where all are free.
func (e *Engine) choosePort() (err error) {
	if e.port = privatePort; e.network == sharedNetwork {
		e.port, err = freePort()
	}
	return err
}

// start makes one attempt, on a port that was free a moment ago.
func (e *Engine) start(ctx context.Context) error {
	if err := writeConfig(e.cfg, e.port); err != nil {
		return err
	}
	e.out = &childLog{logger: e.cfg.Logger} // an attempt before has its own
	e.listening, e.said, e.done = make(chan struct{}), sync.Once{}, make(chan struct{})
	e.stopping, e.stop = context.WithCancel(context.Background())
	go e.supervise()
	if err := e.waitListening(ctx); err != nil {
		e.askToEnd()
		e.kill()
		<-e.done
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	where := []any{"pid", e.child.Pid, "dir", e.cfg.Dir}
	if e.network == sharedNetwork {
		where = append(where, "port", e.port)
	}
	e.metrics.register(e.cfg.Registerer, e.network)
	e.cfg.Logger.Info("embedded ClickHouse is ready", where...)
	return nil
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
	return fmt.Errorf("the embedded engine ended at its start (%w): %s", explainEnd(e.err, out), out)
}

// URL returns the data source name for package store, as the user that Config.Grants speaks of. It stays the same when
// a child is replaced, and is another one after each start.
func (e *Engine) URL() string { return e.url(ServiceUser, e.passwords.service) }

// AnalystURL returns the same for the user that Config.AnalystGrants speaks of.
func (e *Engine) AnalystURL() string { return e.url(AnalystUser, e.passwords.analyst) }

func (e *Engine) url(user, password string) string {
	// Profile events would be sent with each answer and read by nobody.
	parameters := url.Values{"send_profile_events": {"0"}}
	host := loopback(e.port)
	if e.network != sharedNetwork {
		host = "engine"
		parameters.Set("socket", socketPath(e.cfg.Dir))
	}
	u := url.URL{Scheme: "clickhouse", User: url.UserPassword(user, password), Host: host, Path: "/default", RawQuery: parameters.Encode()}
	return u.String()
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
	out := e.out.tail()
	return fmt.Errorf("the embedded engine ended (%w): %s", explainEnd(e.err, out), out)
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
	return errors.Join(err, e.release())
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
