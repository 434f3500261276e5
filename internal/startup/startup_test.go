package startup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// buffer is a log that a test reads while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) lines() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.b.String(), "\n")
}

var errAway, errWrong = errors.New("away"), errors.New("wrong")

// wait is for a minute at most, with an attempt a second.
func wait(log *buffer) Wait {
	return Wait{
		For: "a thing", AtMost: time.Minute, Logger: slog.New(slog.NewTextHandler(log, nil)),
		Passing: func(err error) bool { return errors.Is(err, errAway) },
		Pause: func(ctx context.Context, _ int) error {
			select {
			case <-time.After(time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	}
}

func TestAWaitIsAnnouncedAtOnceAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log buffer
		began, attempts := time.Now(), 0
		err := wait(&log).Do(t.Context(), func(context.Context) error {
			attempts++
			if synctest.Wait(); attempts == 2 && log.lines() != 1 {
				t.Errorf("%d lines after the first attempt", log.lines())
			}
			return errAway
		})
		if !errors.Is(err, errAway) || time.Since(began) != time.Minute || attempts != 61 {
			t.Errorf("%v after %s and %d attempts", err, time.Since(began), attempts)
		}
		if got := log.lines(); got < 6 || got > 7 {
			t.Errorf("%d lines in a minute, want one at once and one each ten seconds", got)
		}
	})
}

func TestASlowAttemptIsAnnouncedWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log buffer
		must := wait(&log).Do(t.Context(), func(context.Context) error {
			time.Sleep(900 * time.Millisecond)
			return nil
		})
		if must != nil || log.lines() != 0 {
			t.Errorf("%v, %d lines about a start without a hitch", must, log.lines())
		}
		must = wait(&log).Do(t.Context(), func(context.Context) error {
			time.Sleep(2 * time.Second)
			return nil
		})
		if must != nil || log.lines() != 1 || !strings.Contains(log.b.String(), "no answer yet") {
			t.Errorf("%v: %s", must, log.b.String())
		}
	})
}

func TestAWaitThatIsOfNoUseEndsEarly(t *testing.T) {
	for _, hangs := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var log buffer
			w := wait(&log)
			w.Explain = func(_ context.Context, err error) (error, bool) {
				return fmt.Errorf("a web server: %w", err), true
			}
			began := time.Now()
			err := w.Do(t.Context(), func(ctx context.Context) error {
				if hangs {
					<-ctx.Done()
					return ctx.Err()
				}
				return errAway
			})
			if err == nil || !strings.Contains(err.Error(), "a web server") || time.Since(began) > 5*time.Second {
				t.Errorf("%v after %s", err, time.Since(began))
			}
		})
	}
}

func TestErrorsThatDoNotPassEndAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log buffer
		w := wait(&log)
		w.Explain = func(_ context.Context, err error) (error, bool) { return fmt.Errorf("explained: %w", err), false }
		err := w.Do(t.Context(), func(context.Context) error { return errWrong })
		if err == nil || err.Error() != "explained: wrong" {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		err = w.Do(ctx, func(context.Context) error {
			cancel()
			return errAway
		})
		if !errors.Is(err, errAway) {
			t.Error(err)
		}
	})
}
