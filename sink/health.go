package sink

// Whether the store takes what the stage writes. A store may answer every question and refuse every insert: its file
// system was mounted read only, it has too many parts, a right is missing. Only who writes sees that.

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Health tells of calls to the store that fail and are repeated. The zero value is ready for use. It is safe for
// concurrent use.
type Health struct {
	mu      sync.Mutex
	failing []*failing // oldest first; guarded by mu
}

// failing is a call from its first failure to its success.
type failing struct {
	what  string
	since time.Time
	err   error // the last one; guarded by Health.mu
}

// Check returns nil while no call is repeated, and otherwise a sentence for the operator about the one that has failed
// for the longest time. It doesn't wait.
func (h *Health) Check(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.failing) == 0 {
		return nil
	}
	f := h.failing[0]
	return fmt.Errorf("%s has failed since %s, and what was accepted waits for it: %w", f.what, f.since.UTC().Format(time.RFC3339), f.err)
}

// failed notes that a call has failed. f is what failed returned for its failure before; nil: it is the first one.
func (h *Health) failed(f *failing, what string, at time.Time, err error) *failing {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f == nil {
		f = &failing{what: what, since: at}
		h.failing = append(h.failing, f)
	}
	f.err = err
	return f
}

// ended notes that a call has succeeded, or was given up. nil: it never failed.
func (h *Health) ended(f *failing) {
	if f == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failing = slices.DeleteFunc(h.failing, func(other *failing) bool { return other == f })
}
