package results

// Uploads that polls may ask for are remembered. The row of an upload never changes. Its status only grows: once a
// batch is done, its numbers are final. So the status of a complete upload is given from memory, for ever.
//
// Of an upload that this process has accepted, events are counted from its seal on, so its status goes on by itself.
//
// Of an upload that isn't complete ClickHouse is asked at every poll all the same: another process may just have read
// there that the upload has got further, and have told the caller so. No event need have come of that: it comes after
// the rows, and late while the brokers elect a leader. Polling in a tight loop costs ClickHouse one query in askEvery.
// Where no other process answers callers (Config.Alone), the events are enough. They may be missing, so ClickHouse is
// asked once in askAlone. A question takes ClickHouse 7 ms of a core, as long as storing 2000 pairs.

import (
	"context"
	"sync"
	"time"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

const (
	// maxRemembered is how many uploads are remembered. One takes some 300 bytes once it is complete, and some 200
	// bytes a batch before.
	maxRemembered = 1 << 14
	// askEvery is how often ClickHouse is asked for the status of one upload. Polls that come sooner wait for that.
	askEvery = 50 * time.Millisecond
	// askAlone is the same for an upload whose events are counted, where no other process answers callers. Polls that
	// come sooner are answered by what the events say.
	askAlone = time.Second
)

// remembered is an upload that was accepted here, or that somebody has polled for.
type remembered struct {
	row     store.Upload
	counted bool          // all its events came, or will come, after it was remembered
	done    chan struct{} // closed once the upload is complete
	ended   sync.Once     // closes done

	mu       sync.Mutex
	status   Status    // the furthest that is known; guarded by mu
	asked    time.Time // when ClickHouse was asked last, of the times it answered; zero: never; guarded by mu
	complete func()    // called once the upload is complete; nil: nobody wants to know
	tally    *tally    // nil: events are not counted, or the upload is complete; guarded by mu
}

// remember makes an upload of which nothing is known but its row. If counted is set, all its events are still to come.
func remember(row store.Upload, counted bool) *remembered {
	u := &remembered{
		row: row, counted: counted, done: make(chan struct{}), status: Status{Waiting: record.Batches(row.Count)},
	}
	if counted {
		u.tally = newTally(row.Count)
	}
	return u
}

// count adds an event of the upload.
func (u *remembered) count(e *recordpb.Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.tally != nil {
		u.tally.count(e)
		u.advance(u.tally.status)
	}
}

// current returns the furthest status that is known, and when ClickHouse was asked last. Unless the upload is complete,
// ClickHouse may have to be asked again.
func (u *remembered) current() (s Status, asked time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.status, u.asked
}

// rest waits until ClickHouse may be asked again, after it was asked last at a time, or the upload is complete.
func (u *remembered) rest(ctx context.Context, asked time.Time) error {
	timer := time.NewTimer(askEvery - time.Since(asked))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-u.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answered adds what ClickHouse said when it was asked at a time.
func (u *remembered) answered(s Status, asked time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if asked.After(u.asked) {
		u.asked = asked
	}
	u.advance(s)
}

// advance makes s the status unless more is known already.
func (u *remembered) advance(s Status) {
	if s.Done > u.status.Done {
		u.status = s
	}
	if !u.status.Complete() {
		return
	}
	u.tally = nil
	u.ended.Do(func() {
		close(u.done)
		if u.complete != nil {
			u.complete()
		}
	})
}
