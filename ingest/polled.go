package ingest

// What polls read is remembered, so that whoever polls in a tight loop costs little: an upload's row never changes, and its progress does
// when an event tells of it. Events may be missed, so a status is not older than maxStatusAge either way.

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"countersign/sink/clickhouse"
)

const (
	maxPolled    = 1 << 14 // uploads, some 250 bytes each
	maxStatusAge = time.Second
)

// polled is an upload that somebody has polled for.
type polled struct {
	upload clickhouse.Upload
	events atomic.Uint64 // told of the upload since it is here

	mu     sync.Mutex
	status status    // guarded by mu
	asked  time.Time // before the store was asked for status; zero: it was not; guarded by mu
	after  uint64    // events there were then; guarded by mu
}

// current returns the status, unless it is old or something has happened since.
func (p *polled) current(now time.Time) (status, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status, p.after == p.events.Load() && now.Sub(p.asked) < maxStatusAge
}

// learn takes in the status that the store gave when it was asked at that time, after so many events.
func (p *polled) learn(s status, asked time.Time, after uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if asked.After(p.asked) {
		p.status, p.asked, p.after = s, asked, after
	}
}

// happened notes an event of an upload.
func (h *hub) happened(id uuid.UUID) {
	if p, ok := h.polled.get(id); ok {
		p.events.Add(1)
	}
}
