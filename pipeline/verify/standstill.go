package verify

// Time in which the process stood still: it was stopped, or its machine was asleep or much too busy. Nobody could look
// at a site then, and looks that were under way ran out of time. So it doesn't count as time in which a site had the
// chance to answer.

import (
	"context"
	"sync"
	"time"

	"countersign/internal/pause"
)

const (
	beatEvery = 250 * time.Millisecond
	// leastStandstill is how late a beat must be for the process to have stood still meanwhile.
	leastStandstill = 2 * time.Second
)

// standstill counts that time. It is safe for concurrent use.
type standstill struct {
	clock func() time.Time

	mu    sync.Mutex
	beat  time.Time     // the last one; guarded by mu, as is stood
	stood time.Duration // before that
}

// watch makes beats until ctx ends.
func (s *standstill) watch(ctx context.Context) {
	for ctx.Err() == nil {
		s.total()
		_ = pause.For(ctx, beatEvery)
	}
}

// total is for how long the process has stood still, up to now. A call is a beat, too.
func (s *standstill) total() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	if late := now.Sub(s.beat); !s.beat.IsZero() && late > leastStandstill {
		s.stood += late
	}
	s.beat = now
	return s.stood
}
