package results

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"countersign/sink/store"
)

// insertions is a store that only inserts rows.
type insertions struct {
	sizes  []int // of the inserts that succeeded
	fail   int   // so many inserts fail first
	failed int
	block  chan struct{} // inserts wait until it is closed
}

func (s *insertions) insert(ctx context.Context, rows []store.Upload) error {
	if s.block != nil {
		select {
		case <-s.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if s.failed < s.fail {
		s.failed++
		return errors.New("away")
	}
	s.sizes = append(s.sizes, len(rows))
	return nil
}

func startRecorder(t *testing.T, s *insertions) (r *recorder, stop func()) {
	r = newRecorder(s.insert, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); r.run(ctx) }()
	return r, func() { cancel(); <-ended }
}

func rowOf(n int) store.Upload { return store.Upload{ID: uuid.UUID{byte(n >> 8), byte(n)}} }

// What comes while an insert is in flight makes up the next ones, of a thousand rows each at most.
func TestRowsAreStoredInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &insertions{block: make(chan struct{})}
		r, stop := startRecorder(t, s)
		stored := r.add(rowOf(0))
		synctest.Wait()
		for n := range 2500 {
			stored = r.add(rowOf(n + 1))
		}
		if r.size() != 2501 {
			t.Errorf("%d rows wait", r.size())
		}
		close(s.block)
		<-stored
		stop()
		if want := []int{1, 1000, 1000, 500}; len(s.sizes) != len(want) || s.sizes[1] != 1000 || s.sizes[3] != 500 {
			t.Errorf("inserts of %v rows, want %v", s.sizes, want)
		}
		if r.size() != 0 {
			t.Errorf("%d rows wait", r.size())
		}
	})
}

// A row is known until it is stored, however often an insert fails, and tried again with longer pauses.
func TestFailedInsertsAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &insertions{fail: 3}
		r, stop := startRecorder(t, s)
		defer stop()
		begun := time.Now()
		stored := r.add(rowOf(1))
		synctest.Wait()
		if _, ok := r.get(rowOf(1).ID); !ok {
			t.Error("a row that waits is not known")
		}
		<-stored
		if waited := time.Since(begun); waited != 700*time.Millisecond { // 100 + 200 + 400
			t.Errorf("stored after %s", waited)
		}
		if _, ok := r.get(rowOf(1).ID); ok {
			t.Error("a stored row is kept")
		}
	})
}

// The rows that are left when the server stops are tried once more, and not for long.
func TestLastRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &insertions{block: make(chan struct{})}
		r, stop := startRecorder(t, s)
		r.add(rowOf(1))
		synctest.Wait()
		begun := time.Now()
		if stop(); time.Since(begun) > lastInserts {
			t.Errorf("stopped after %s", time.Since(begun))
		}
		if r.size() != 1 {
			t.Errorf("%d rows wait", r.size())
		}

		s = &insertions{fail: 1}
		r, stop = startRecorder(t, s)
		r.add(rowOf(1))
		synctest.Wait() // it has failed
		if stop(); r.size() != 0 {
			t.Error("the last row was not stored")
		}
	})
}
