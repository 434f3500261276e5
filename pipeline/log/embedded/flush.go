package embedded

// Durability. kfake has written every acknowledged batch to its segment file, but a power cut can take that away
// until the file was synced. A flush waits for a round of syncs (sync.go) that began after the call. Callers that
// arrive while a round is under way share the next one, so the number of rounds doesn't grow with the number of
// callers.

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// flusher runs rounds, one at a time, on a goroutine that lives while anybody waits.
type flusher struct {
	syncer  *syncer // owned by the goroutine that runs rounds; by close when that has ended
	failure *failure

	mu      sync.Mutex
	next    *round         // the round that new callers join; nil: nobody waits; guarded by mu
	running bool           // a goroutine runs rounds; guarded by mu
	closed  bool           // guarded by mu
	wg      sync.WaitGroup // the goroutine that runs rounds
}

// round is one round's outcome.
type round struct {
	done chan struct{} // closed by the goroutine that runs rounds
	err  error         // valid after done
}

func newFlusher(dir string, failure *failure) *flusher {
	return &flusher{syncer: newSyncer(dir), failure: failure}
}

// flush waits for a round that begins after the call.
func (f *flusher) flush(ctx context.Context) error {
	r, err := f.join()
	if err != nil {
		return err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join returns the next round, and sees to it that somebody runs it.
func (f *flusher) join() (*round, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, fmt.Errorf("embedded broker: %w", ErrClosed)
	}
	if f.next == nil {
		f.next = &round{done: make(chan struct{})}
	}
	if !f.running {
		f.running = true
		f.wg.Go(f.run)
	}
	return f.next, nil
}

// begin takes the next round from its callers. nil: nobody waits, and run has to end.
func (f *flusher) begin() *round {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.next
	f.next = nil
	f.running = r != nil
	return r
}

// run runs rounds until nobody waits.
func (f *flusher) run() {
	for r := f.begin(); r != nil; r = f.begin() {
		if err := f.syncer.syncGrown(); err != nil {
			r.err = fmt.Errorf("embedded broker: write %s to disk: %w; check the disk and restart", f.syncer.dir, err)
			if errors.Is(err, errNotOnDisk) {
				f.failure.set(r.err)
			}
		}
		close(r.done)
	}
}

// close refuses new callers, waits for the rounds of those that came before, and syncs a last time, now that the
// broker is stopped.
func (f *flusher) close() error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.wg.Wait()
	return errors.Join(f.syncer.syncGrown(), f.syncer.close())
}
