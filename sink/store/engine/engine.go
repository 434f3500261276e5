// The embedded engine is a ClickHouse in a child process that lives exactly as long as this one: `clickhouse local` with a
// listener, or the same code as a library (libchdb) that a re-executed countersign loads. Its query reads standard input,
// so closing that ends it in order; a signal from the kernel ends it when its parent dies without a word. Neither
// loses a row whose insert returned: parts are synced before an insert returns.
//
// One directory serves one engine. A lock on DIR/engine.lock is held by parent and child alike and released by
// the kernel when the last of them is gone, so a successor waits for a child that is still ending.
//
// The listener is on loopback, for the native protocol, without a password: whoever can open sockets on this machine can
// use it. A child that dies is replaced: clickhouse-local aborts on a malformed handshake or a connection that is reset, which this
// package avoids (dial.go) and a stranger might not. A machine that is shared with strangers should have a
// ClickHouse of its own and --clickhouse URL.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// EngineConfig says what runs the embedded engine, and where its data is.
type EngineConfig struct {
	// Dir holds data, configuration and lock; it is made when missing.
	Dir string
	// Binary is a clickhouse binary to run. "": the library is used, unless there is none and PATH has a clickhouse.
	Binary string
	// Lib is a libchdb.so to load. "": FindLib looks for it. Binary goes before Lib.
	Lib string
	// MemoryLimit bounds the engine's memory in bytes; queries over it fail as ErrUnavailable. 0: DefaultEngineMemory.
	MemoryLimit int64
	// Logger receives what the engine prints. nil: nothing is logged.
	Logger *slog.Logger
}

// DefaultEngineMemory bounds the engine's memory where nothing else is said.
const DefaultEngineMemory = 2 << 30

const (
	engineStartTimeout = 60 * time.Second // old parts are checked at start: a large database takes a while
	engineLockTimeout  = 30 * time.Second // how long a predecessor may take to end
	engineStopTimeout  = 30 * time.Second // how long the engine may take to end in order
	enginePortTries    = 5
	engineRestarts     = 5 // in a row, each within a minute
)

// Engine is a running embedded engine. Its methods may be called concurrently.
type Engine struct {
	cfg     EngineConfig
	program engineProgram
	port    int
	lock    *os.File
	out     *engineLog

	listening chan struct{} // closed when the first child says that it listens: from then on a child that dies is replaced
	said      sync.Once     // closes listening

	mu       sync.Mutex
	child    *os.Process // nil until the first was started
	stdin    *os.File    // its end ends the child
	stopping bool

	done chan struct{} // closed by supervise at its end
	err  error         // why it ended; readable after done
}

// StartEngine starts an engine on cfg.Dir and returns when it listens. ctx bounds the start only. The caller closes the Engine.
func StartEngine(ctx context.Context, cfg EngineConfig) (*Engine, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MemoryLimit == 0 {
		cfg.MemoryLimit = DefaultEngineMemory
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("engine directory %s: %w", cfg.Dir, err)
	}
	cfg.Dir = dir
	program, err := findEngine(cfg)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(ctx, cfg.Dir)
	if err != nil {
		return nil, err
	}
	for range enginePortTries {
		var e *Engine
		if e, err = startOnFreePort(ctx, cfg, program, lock); err == nil {
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

// startOnFreePort makes one attempt, on a port that was free a moment ago.
func startOnFreePort(ctx context.Context, cfg EngineConfig, program engineProgram, lock *os.File) (*Engine, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	if err := writeEngineConfig(cfg, port); err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, program: program, port: port, lock: lock,
		out: &engineLog{logger: cfg.Logger}, listening: make(chan struct{}), done: make(chan struct{}),
	}
	go e.supervise()
	if err := e.waitReady(ctx); err != nil {
		e.stop()
		e.kill()
		<-e.done
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	cfg.Logger.Info("embedded ClickHouse is ready", "pid", e.child.Pid, "port", port, "dir", cfg.Dir)
	return e, nil
}

// supervise runs the child, and another one on the same port and data when one dies that was ready; not for ever, if they
// keep dying. It stays on one thread: the kernel tells a child that its parent died when the thread that made it ends.
func (e *Engine) supervise() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(e.done)
	for restarts := 0; ; {
		began := time.Now()
		e.err = e.runChild()
		if !e.goesOn() {
			return
		}
		if time.Since(began) > time.Minute {
			restarts = 0
		}
		if restarts++; restarts > engineRestarts {
			e.cfg.Logger.Error("embedded ClickHouse keeps ending; giving up", "error", e.err)
			return
		}
		e.cfg.Logger.Error("embedded ClickHouse ended; starting it again", "error", e.err)
		time.Sleep(time.Duration(restarts) * 100 * time.Millisecond)
	}
}

// goesOn says whether a child that ended is replaced.
func (e *Engine) goesOn() bool {
	select {
	case <-e.listening:
	default:
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.stopping
}

// runChild starts a child and waits for its end.
func (e *Engine) runChild() error {
	stdin, stdinEnd, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("engine: make its standard input: %w", err)
	}
	defer stdinEnd.Close()
	ready, readyEnd, err := os.Pipe()
	if err != nil {
		return errors.Join(fmt.Errorf("engine: make the pipe on which it says that it listens: %w", err), stdin.Close())
	}
	cmd := e.program.command(configFile(e.cfg.Dir), storeDir(e.cfg.Dir))
	cmd.Stdin, cmd.Stderr, cmd.ExtraFiles = stdin, e.out, []*os.File{e.lock, readyEnd}
	cmd.WaitDelay = time.Second
	err = e.launch(cmd, stdinEnd)
	stdin.Close()
	readyEnd.Close()
	if err != nil {
		return errors.Join(fmt.Errorf("engine: start %s: %w", cmd.Path, err), ready.Close())
	}
	var reader sync.WaitGroup
	reader.Go(func() { e.hear(ready) })
	err = cmd.Wait()
	ready.Close() // ends the reader, whoever else may hold the other end
	reader.Wait()
	e.out.flush()
	return err
}

// hear waits until the child says on its pipe that it listens, or the pipe ends.
func (e *Engine) hear(ready *os.File) {
	if n, _ := ready.Read(make([]byte, 1)); n > 0 {
		e.said.Do(func() { close(e.listening) })
	}
}

// launch starts cmd unless the engine is being closed.
func (e *Engine) launch(cmd *exec.Cmd, stdinEnd *os.File) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping {
		return context.Canceled
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	e.child, e.stdin = cmd.Process, stdinEnd
	return nil
}

// waitReady returns when the child says that it listens. That takes no connection, so another server on the same port can't be
// taken for the engine: the child of an engine that doesn't get its port ends.
func (e *Engine) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, engineStartTimeout, fmt.Errorf("it did not listen within %v", engineStartTimeout))
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

// startError tells why the child ended before it listened.
func (e *Engine) startError() error {
	out := e.out.tail()
	if strings.Contains(out, "Address already in use") {
		return errPortTaken
	}
	return fmt.Errorf("the embedded engine ended at its start (%v): %s", e.err, out)
}

// URL returns the data source name for Config.URL.
func (e *Engine) URL() string {
	// Profile events would be sent with each answer and read by nobody.
	return "clickhouse://127.0.0.1:" + strconv.Itoa(e.port) + "/default?send_profile_events=0"
}

// Done is closed when the engine has ended for good: after Close, or when its child kept dying.
func (e *Engine) Done() <-chan struct{} { return e.done }

// Err tells why the engine ended by itself; nil while it runs and after a Close in order.
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

// Close ends the engine in order, and by force when ctx ends first or half a minute went by. It returns when it is gone and
// its directory is free. Connections to it should be closed before. Only the first call does anything.
func (e *Engine) Close(ctx context.Context) error {
	if !e.stop() {
		<-e.done
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, engineStopTimeout)
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

// stop asks the child to end and says whether this was the first call.
func (e *Engine) stop() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	first := !e.stopping
	e.stopping = true
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

// freePort returns a loopback port that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("engine: no free port on 127.0.0.1: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
