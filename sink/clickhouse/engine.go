// The embedded engine is a ClickHouse in a child process that lives exactly as long as this one: `clickhouse local` with a
// listener, or the same code as a library (libchdb) that a re-executed countersign loads. Its query reads standard input,
// so closing that ends it in order; a signal from the kernel ends it when its parent dies without a word. Neither
// loses a row whose insert returned: parts are synced before an insert returns.
//
// One directory serves one engine. A lock on DIR/engine.lock is held by parent and child alike and released by
// the kernel when the last of them is gone, so a successor waits for a child that is still ending.
//
// The listener is on loopback, for the native protocol, without a password: whoever can open sockets on this machine can
// use it, or end it with a malformed handshake (the library aborts on one). A machine that is shared with strangers
// should have a ClickHouse of its own and --clickhouse URL.
package clickhouse

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

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
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
)

// Engine is a running embedded engine. Its methods may be called concurrently.
type Engine struct {
	port  int
	stdin *os.File // its end ends the child
	child *os.Process
	out   *engineLog
	lock  *os.File

	stop sync.Once
	done chan struct{} // closed when the child was waited for
	err  error         // why it ended; readable after done
}

// StartEngine starts an engine on cfg.Dir and returns when it answers. ctx bounds the start only. The caller closes the Engine.
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
		if e, err = startChild(ctx, cfg, program, lock); err == nil {
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

// startChild makes one attempt, on a port that was free a moment ago.
func startChild(ctx context.Context, cfg EngineConfig, program engineProgram, lock *os.File) (*Engine, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	config, err := writeEngineConfig(cfg, port)
	if err != nil {
		return nil, err
	}
	stdin, stdinEnd, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("engine: make its standard input: %w", err)
	}
	e := &Engine{
		port: port, stdin: stdinEnd, lock: lock, done: make(chan struct{}),
		out: &engineLog{logger: cfg.Logger},
	}
	cmd := program.command(config, storeDir(cfg.Dir))
	cmd.Stdin, cmd.Stderr, cmd.ExtraFiles = stdin, e.out, []*os.File{lock}
	cmd.WaitDelay = time.Second
	started := make(chan error, 1)
	go e.run(cmd, started)
	err = <-started
	stdin.Close()
	if err != nil {
		stdinEnd.Close()
		return nil, fmt.Errorf("engine: start %s: %w", cmd.Path, err)
	}
	if err := e.waitReady(ctx, cfg.Dir); err != nil {
		e.kill()
		<-e.done
		stdinEnd.Close()
		return nil, err
	}
	cfg.Logger.Info("embedded ClickHouse is ready", "pid", e.child.Pid, "port", port, "dir", cfg.Dir)
	return e, nil
}

// run starts the child and waits for it, on one thread: the kernel tells a child that its parent died when the thread that
// made it ends.
func (e *Engine) run(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	e.child = cmd.Process
	started <- nil
	e.err = cmd.Wait()
	e.out.flush()
	close(e.done)
}

// waitReady returns when the engine on e.port answers and is the one that was started.
func (e *Engine) waitReady(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, engineStartTimeout, fmt.Errorf("it did not answer within %v", engineStartTimeout))
	defer cancel()
	var last error
	for {
		store, err := askStore(ctx, e.URL())
		switch {
		case err == nil && filepath.Clean(store) == storeDir(dir):
			return nil
		case err == nil:
			return errPortTaken
		case !errors.Is(err, context.Canceled):
			last = err
		}
		select {
		case <-e.done:
			return e.startError()
		case <-ctx.Done():
			return fmt.Errorf("engine on %s: %w (last: %v); its output: %s", dir, context.Cause(ctx), last, e.out.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// startError tells why the child ended before it answered.
func (e *Engine) startError() error {
	out := e.out.tail()
	if strings.Contains(out, "Address already in use") {
		return errPortTaken
	}
	return fmt.Errorf("the embedded engine ended at its start (%v): %s", e.err, out)
}

// askStore returns where the engine at url keeps its data.
func askStore(ctx context.Context, url string) (path string, err error) {
	opts, err := clickhouse.ParseDSN(url)
	if err != nil {
		return "", err
	}
	opts.DialTimeout = time.Second
	conn, err := clickhouse.Open(opts)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	var row driver.Row = conn.QueryRow(ctx, "SELECT value FROM system.server_settings WHERE name = 'path'")
	err = row.Scan(&path)
	return path, err
}

// URL returns the data source name for Config.URL.
func (e *Engine) URL() string {
	// Profile events would be sent with each answer and read by nobody.
	return "clickhouse://127.0.0.1:" + strconv.Itoa(e.port) + "/default?send_profile_events=0"
}

// Done is closed when the child has ended, for whatever reason.
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
// its directory is free. Later calls wait for the first.
func (e *Engine) Close(ctx context.Context) error {
	var err error
	e.stop.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, engineStopTimeout)
		defer cancel()
		e.stdin.Close()
		select {
		case <-e.done:
		case <-ctx.Done():
			e.kill()
			<-e.done
			err = fmt.Errorf("the embedded engine did not end in time and was killed; its stored rows are safe: %w", ctx.Err())
		}
		err = errors.Join(err, e.lock.Close())
	})
	return err
}

func (e *Engine) kill() {
	_ = e.child.Kill() // fails only when the child is gone, which is what was wanted
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
