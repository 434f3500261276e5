package startup

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

const (
	slow   = time.Second      // an attempt that takes longer is told of
	period = 10 * time.Second // between two log lines
	again  = time.Second      // between two explanations that are sure
)

// Wait says what is waited for, and how.
type Wait struct {
	For    string        // a thing, such as "Kafka at host:9092"
	AtMost time.Duration // after that no further attempt is made
	Logger *slog.Logger
	// Passing says whether another attempt may succeed after an error.
	Passing func(error) bool
	// Pause is called after attempt n, counted from 0. It returns an error when ctx ends.
	Pause func(ctx context.Context, n int) error
	// Explain puts an error into words, by looking at what is there: it may take some seconds. sure says that time
	// doesn't mend it. The wait ends when two explanations in a row are sure. Nil: there are none.
	Explain func(ctx context.Context, err error) (explained error, sure bool)
}

// errNoAnswer stands for the error of an attempt that has not ended.
var errNoAnswer = errors.New("no answer yet")

// standing is how a wait stands. The goroutine of Do and the one that tells share it.
type standing struct {
	mu  sync.Mutex
	err error // of the last attempt; guarded by mu
}

// Do repeats call, until it succeeds, fails for good, or the time is over. The error is the last one, explained, or
// call's where ctx has ended.
func (w Wait) Do(ctx context.Context, call func(context.Context) error) error {
	begun := time.Now()
	running, stop := context.WithCancelCause(ctx)
	s := &standing{err: errNoAnswer}
	failed := make(chan struct{}, 1) // a first attempt has failed
	var telling sync.WaitGroup
	telling.Go(func() { w.tell(running, stop, s, failed) })
	defer telling.Wait()
	defer stop(nil)
	for n := 0; ; n++ {
		err := call(running)
		if err == nil {
			return nil
		}
		if plain, ok := errors.AsType[*plainError](context.Cause(running)); ok {
			return plain.error
		}
		if ctx.Err() != nil {
			return err
		}
		s.failed(err)
		if !w.Passing(err) || time.Since(begun) >= w.AtMost {
			explained, _ := w.look(ctx, s)
			return explained
		}
		select {
		case failed <- struct{}{}:
		default:
		}
		if w.Pause(running, n) != nil {
			if plain, ok := errors.AsType[*plainError](context.Cause(running)); ok {
				return plain.error
			}
			return err
		}
	}
}

// plainError is the cause of the end of a wait that would be of no use.
type plainError struct{ error }

func (s *standing) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// tell writes the log, and ends the attempts when waiting is of no use.
func (w Wait) tell(ctx context.Context, stop context.CancelCauseFunc, s *standing, failed <-chan struct{}) {
	timer := time.NewTimer(slow)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-failed:
	case <-ctx.Done():
		return
	}
	for wasSure := false; ; {
		explained, sure := w.look(ctx, s)
		if ctx.Err() != nil {
			return
		}
		w.Logger.Info("waiting for what the start needs", "for", w.For, "at_most", w.AtMost, "error", explained)
		if sure && wasSure {
			stop(&plainError{explained})
			return
		}
		timer.Reset(period)
		if wasSure = sure; sure {
			timer.Reset(again)
		}
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// look explains the last error.
func (w Wait) look(ctx context.Context, s *standing) (explained error, sure bool) {
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	if w.Explain == nil {
		return err, false
	}
	return w.Explain(ctx, err)
}
