package service

// Starting and stopping: a process is ready when it logs msg=ready, and that line says where it listens.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

const (
	readyTimeout = 2 * time.Minute  // a busy machine needs longer than the second or two of an idle one
	stopTimeout  = 90 * time.Second // the service gives itself 30 s for an orderly stop
)

// Config says what to start.
type Config struct {
	Binary string    // the countersign program
	Args   []string  // of serve; --listen and --admin-listen are free ports of loopback unless they are named here
	Env    []string  // in the form NAME=value, added to this process's environment
	Log    io.Writer // gets every line that the child logs, from one goroutine; nil: nobody does
}

// Process is a running `countersign serve`. Its methods are safe for concurrent use.
type Process struct {
	API   string // host:port of the API; empty if the process has no role that serves it
	Admin string // host:port of /metrics and /readyz; empty if there is none

	cmd  *exec.Cmd
	tail *tail
	done chan struct{} // closed when the process has ended
	err  error         // of its end; written before done is closed
}

// Start runs `countersign serve` and returns when it is ready. The error says what the child logged last if it ends
// before, or isn't ready within two minutes; then no process is left behind.
func Start(ctx context.Context, c Config) (*Process, error) {
	p, ready, err := launch(c)
	if err != nil {
		return nil, fmt.Errorf("start %s serve: %w", c.Binary, err)
	}
	select {
	case line := <-ready:
		p.API, p.Admin = line["listen"], line["admin"]
		return p, nil
	case <-p.done:
		return nil, fmt.Errorf("the service ended before it was ready: %w; it said:\n%s", p.ended(), p.tail)
	case <-time.After(readyTimeout):
		err = fmt.Errorf("the service is not ready after %s; it said:\n%s", readyTimeout, p.tail)
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, errors.Join(err, p.Stop())
}

// launch starts the process. ready gets the fields of the line that says that it is ready.
func launch(c Config) (p *Process, ready chan map[string]string, err error) {
	args := append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, c.Args...)
	p = &Process{cmd: exec.Command(c.Binary, args...), tail: &tail{to: c.Log}, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.SysProcAttr = childAttributes()
	out, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, nil, err
	}
	ready = make(chan map[string]string, 1)
	started := make(chan error, 1)
	go func() {
		// The system ends the child with the thread that started it. This goroutine keeps that thread until the child
		// has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.tail.follow(out, ready)
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	return p, ready, <-started
}

// Stop ends the process in order and waits for its end. The error is the process's own, or says that it had to be
// killed. Further calls return the same.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails where the process has ended
	select {
	case <-p.done:
		return p.err
	case <-time.After(stopTimeout):
		p.Kill()
		return fmt.Errorf("the service did not stop within %s and was killed; it said:\n%s", stopTimeout, p.tail)
	}
}

// Kill ends the process as a crash does, and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // fails where the process has ended
	<-p.done
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Alive is nil while the process runs, and otherwise an error with how it ended and what it said.
func (p *Process) Alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("the service ended: %w; it said:\n%s", p.ended(), p.tail)
	default:
		return nil
	}
}

// PID is the process's number, also after its end.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// errExited is the end of a process that reports success.
var errExited = errors.New("exit status 0")

func (p *Process) ended() error {
	if p.err == nil {
		return errExited
	}
	return p.err
}
