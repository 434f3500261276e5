package results

// Uploads that polls may ask for are remembered, so that polling in a tight loop costs ClickHouse one query a second.
// The row of an upload never changes. Its status only grows: once a batch is done, its numbers are final.
//
// Of an upload that this process has accepted, events are counted from its seal on, so its status goes on by itself. Of
// another upload an event only says that the status may be old.

import (
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
	// maxStatusAge is how long a status counts as up to date after ClickHouse was asked for it.
	maxStatusAge = time.Second
)

// remembered is an upload that was accepted here, or that somebody has polled for.
type remembered struct {
	row store.Upload

	mu       sync.Mutex
	status   Status    // the furthest that is known; guarded by mu
	asked    time.Time // when ClickHouse was asked last, of the times it answered; zero: never; guarded by mu
	changed  time.Time // when an event came that tally didn't count; guarded by mu
	complete func()    // called once the upload is complete; nil: nobody wants to know, or it was; guarded by mu
	tally    *tally    // nil: events are not counted, or the upload is complete; guarded by mu
}

// remember makes an upload of which nothing is known but its row. If counted is set, all its events are still to come.
func remember(row store.Upload, counted bool) *remembered {
	u := &remembered{row: row, status: Status{Waiting: record.Batches(row.Count)}}
	if counted {
		u.tally = newTally(row.Count)
	}
	return u
}

// count adds an event of the upload.
func (u *remembered) count(e *recordpb.Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.status.Complete(): // nothing can change
	case u.tally == nil:
		u.changed = time.Now()
	default:
		u.tally.count(e)
		u.advance(u.tally.status)
	}
}

// current returns the status, and whether it is up to date; if not, ClickHouse has to be asked.
func (u *remembered) current(now time.Time) (s Status, upToDate bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.status, now.Sub(u.asked) < maxStatusAge && u.asked.After(u.changed)
}

// answered adds what ClickHouse said when it was asked at a time. An event since then makes the answer old at once.
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
	if u.complete != nil {
		u.complete()
		u.complete = nil
	}
}
