package pause

import (
	"context"
	"time"
)

// For waits for d. It returns ctx's error at once when ctx ends first, and nil after d.
// A d of zero or less doesn't wait, but still reports a ctx that has ended.
func For(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Backoff says how long to wait after attempts that failed: First after the first one, twice as long after each further
// one, and never longer than Most.
type Backoff struct {
	First, Most time.Duration
}

// After is the wait after attempt n in a row has failed, counted from 0. Negative numbers count as 0.
func (b Backoff) After(n int) time.Duration {
	d := b.First
	for range n {
		if d >= b.Most {
			break
		}
		d *= 2
	}
	return min(d, b.Most)
}
