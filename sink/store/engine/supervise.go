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
	maxRestarts  = 5           // in a row
	stableAfter  = time.Minute // a child that ran for so long ends the row
	restartPause = 100 * time.Millisecond
)

// supervise runs children until the engine is asked to end, the first one doesn't come to listen, or they keep dying.
// It stays on one thread: the kernel tells a child that its parent died when the thread that made the child ends.
func (e *Engine) supervise() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(e.done)
	for restarts := 0; ; {
		began := time.Now()
		e.err = e.runChild()
		if !e.hasListened() || e.stopping.Err() != nil {
			return
		}
		if time.Since(began) > stableAfter {
			restarts = 0
		}
		if restarts++; restarts > maxRestarts {
			e.cfg.Logger.Error("embedded ClickHouse keeps ending; giving up", "error", e.err)
			return
		}
		e.cfg.Logger.Error("embedded ClickHouse ended; starting it again", "error", e.err)
		if pause.For(e.stopping, time.Duration(restarts)*restartPause) != nil {
			return
		}
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
	cmd.Stdin, cmd.Stderr = stdin, e.out
	cmd.ExtraFiles = []*os.File{e.lock, readyEnd} // files 3 and 4 of the child; readyFile names the second
	cmd.WaitDelay = time.Second
	err = e.launch(cmd, stdinEnd)
	stdin.Close()
	readyEnd.Close()
	if err != nil {
		return errors.Join(fmt.Errorf("engine: start %s: %w", cmd.Path, err), ready.Close())
	}
	var reader sync.WaitGroup
	reader.Go(func() { e.waitForWord(ready) })
	err = cmd.Wait()
	ready.Close() // ends the reader, whoever else may hold the other end
	reader.Wait()
	e.out.flush()
	return err
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

// waitForWord waits until the child says on its pipe that it listens, or the pipe ends.
func (e *Engine) waitForWord(ready *os.File) {
	if n, _ := ready.Read(make([]byte, 1)); n > 0 {
		e.said.Do(func() { close(e.listening) })
	}
}
