package ingest

// What polls are told is remembered, so that whoever polls in a tight loop costs little. An upload's row never changes. Its status comes from
// the store once a second; in between, events say how far the uploads are that this process has accepted, and for others whether
// anything has happened.

import (
	"sync"
	"time"

	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

const (
	// maxPolled is how many uploads are remembered: some 300 bytes each when they are done, and some 200 a batch before.
	maxPolled    = 1 << 14
	maxStatusAge = time.Second
)

// polled is an upload that was accepted here, or that somebody has polled for.
type polled struct {
	upload   store.Upload
	followed bool // from its seal on

	mu     sync.Mutex
	tally  *tally    // nil: not followed, or complete; guarded by mu
	events uint64    // told of the upload; guarded by mu
	status status    // the last that is known; guarded by mu
	asked  time.Time // before the store was asked; zero: it was not; guarded by mu
	after  uint64    // events there were then; guarded by mu
}

// tell takes in an event of the upload.
func (p *polled) tell(e *recordpb.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events++
	if p.tally != nil && p.tally.count(e) {
		p.status = p.tally.status()
		p.tally = nil
	}
}

// current returns the status, unless the store has to be asked for it, and how many events there were.
func (p *polled) current(now time.Time) (s status, ok bool, events uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s = p.status
	if p.tally != nil {
		if t := p.tally.status(); t.done > s.done {
			s = t
		}
	}
	return s, now.Sub(p.asked) < maxStatusAge && (p.followed || p.events == p.after), p.events
}

// learn takes in the status that the store gave when it was asked at that time, after so many events.
func (p *polled) learn(s status, asked time.Time, after uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !asked.After(p.asked) {
		return
	}
	p.asked, p.after = asked, after
	if !p.followed || s.done >= p.status.done {
		p.status = s
	}
}

// follow begins to count for an upload that is about to be sealed.
func (h *hub) follow(up accepted) {
	t := newTally(up.pairs)
	h.polled.put(up.id, &polled{upload: up.row(), followed: true, tally: t, status: t.status()})
}
