package engine

// One goroutine of an Engine starts the child, waits for its end, and starts another one when it died.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"countersign/internal/pause"
)

const (
	maxFailedStarts = 10          // in a row, over some half a minute: then the engine has ended for good
	stableAfter     = time.Minute // a child that ran for so long is replaced without a pause
)

// restartPause is how long to wait after children that ended one soon after the other.
var restartPause = pause.Backoff{First: 100 * time.Millisecond, Most: 10 * time.Second}

// supervise runs children until the engine is asked to end, the first one doesn't come to listen, or too many in a row
// don't. A child that came to listen, however often its like died before, is a good start and counts for nothing.
// supervise stays on one thread: the kernel tells a child that its parent died when the thread that made the child
// ends.
func (e *Engine) supervise() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(e.done)
	for failed, short := 0, 0; ; {
		began := time.Now()
		listened, err := e.runChild()
		e.err = err
		reason := explainEnd(err, e.out.tail())
		if !e.hasListened() || e.stopping.Err() != nil {
			return
		}
		if failed++; listened {
			failed = 0
		}
		e.metrics.ends.WithLabelValues(map[bool]string{true: "crashed", false: "failed to start"}[listened]).Inc()
		if failed == maxFailedStarts {
			e.cfg.Logger.Error("embedded ClickHouse can't be started again; giving up", "error", reason, "tries", failed)
			return
		}
		e.cfg.Logger.Error("embedded ClickHouse ended; starting it again", "error", reason)
		if time.Since(began) > stableAfter {
			short = 0
			continue
		}
		if pause.For(e.stopping, restartPause.After(short)) != nil {
			return
		}
		short++
	}
}

// hasListened reports whether a child has come to listen: those after it are worth a restart.
func (e *Engine) hasListened() bool {
	select {
	case <-e.listening:
		return true
	default:
		return false
	}
}

// runChild starts a child and waits for its end. listened says whether it came to listen.
func (e *Engine) runChild() (listened bool, err error) {
	stdin, stdinEnd, err := os.Pipe()
	if err != nil {
		return false, fmt.Errorf("engine: make its standard input: %w", err)
	}
	defer stdinEnd.Close()
	ready, readyEnd, err := os.Pipe()
	if err != nil {
		return false, errors.Join(fmt.Errorf("engine: make the pipe on which it says that it listens: %w", err), stdin.Close())
	}
	cmd, err := e.command(stdin, readyEnd)
	if err == nil {
		err = e.launch(cmd, stdinEnd)
	}
	stdin.Close()
	readyEnd.Close()
	if err != nil {
		return false, errors.Join(fmt.Errorf("engine: start it: %w", err), ready.Close())
	}
	var reader sync.WaitGroup
	reader.Go(func() { listened = e.waitForWord(ready) })
	late := time.AfterFunc(startTimeout, func() { _ = ready.SetReadDeadline(time.Unix(1, 0)) })
	err = cmd.Wait()
	late.Stop()
	ready.Close() // ends the reader, whoever else may hold the other end
	reader.Wait()
	e.out.flush()
	return listened, err
}

// command is the next child, with the files that lockFile and so on name.
func (e *Engine) command(stdin, ready *os.File) (*exec.Cmd, error) {
	cmd := exec.Command(ownProgram())
	o := order{Network: e.network, Dir: e.cfg.Dir, Port: e.port, Lib: e.program.lib, Binary: e.program.binary}
	if err := o.command(cmd); err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stderr = stdin, e.out
	cmd.ExtraFiles = []*os.File{e.lock, ready, e.socket, e.lib}
	cmd.WaitDelay = time.Second
	return cmd, nil
}

// launch starts cmd unless the engine is asked to end.
func (e *Engine) launch(cmd *exec.Cmd, stdinEnd *os.File) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping.Err() != nil {
		return context.Canceled
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	e.child, e.stdin = cmd.Process, stdinEnd
	return nil
}

// waitForWord waits until the child says on its pipe that it listens, or the pipe ends. A child that doesn't come to
// listen in time is killed.
func (e *Engine) waitForWord(ready *os.File) (listened bool) {
	n, err := ready.Read(make([]byte, 1))
	if n > 0 {
		e.said.Do(func() { close(e.listening) })
		return true
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		e.cfg.Logger.Error("embedded ClickHouse does not come to listen; killing it", "after", startTimeout)
		e.kill()
	}
	return false
}
