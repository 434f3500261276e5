package results

// Watches: synchronous calls learn from topic events when their upload is complete. Events may be missing, so a
// call that waits also asks the store now and then (wait.go).

import (
	"sync"

	"github.com/google/uuid"

	"countersign/pipeline/record/recordpb"
)

// Watch is one caller's interest in one upload. It is for one goroutine, which must end it with Close.
type Watch struct {
	tracker  *Tracker
	upload   uuid.UUID
	pairs    uint64
	complete chan struct{} // closed by hub.count once outcome is final
	outcome  Outcome       // valid once complete is closed
	tally    *tally        // guarded by the hub's mu
}

// Watch begins to count the events of an upload of so many pairs. It must be called before the upload's seal is
// written: events that came earlier are not counted. A watch takes some 50 bytes a pair at most.
func (t *Tracker) Watch(upload uuid.UUID, pairs uint64) *Watch {
	w := &Watch{tracker: t, upload: upload, pairs: pairs, complete: make(chan struct{}), tally: newTally(pairs)}
	if pairs == 0 {
		close(w.complete)
	} else {
		t.hub.add(w)
	}
	return w
}

// Close ends the watch. It may be called again.
func (w *Watch) Close() { w.tracker.hub.remove(w) }

// hub has the watches of all calls that wait.
type hub struct {
	mu      sync.Mutex
	watches map[uuid.UUID][]*Watch // guarded by mu
}

func (h *hub) add(w *Watch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watches[w.upload] = append(h.watches[w.upload], w)
}

func (h *hub) remove(w *Watch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.removeLocked(w)
}

// removeLocked is remove for a caller that holds mu.
func (h *hub) removeLocked(w *Watch) {
	list := h.watches[w.upload]
	for i, other := range list {
		if other == w {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(h.watches, w.upload)
	} else {
		h.watches[w.upload] = list
	}
}

// count adds events to the tallies of those who watch their uploads.
func (h *hub) count(events []*recordpb.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range events {
		for _, w := range h.watches[uuid.UUID(e.GetUpload())] {
			if w.tally.count(e) {
				w.outcome = w.tally.outcome()
				close(w.complete)
				h.removeLocked(w)
			}
		}
	}
}
