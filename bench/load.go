package bench

// Many uploads at once. In a closed loop each of the workers starts its next upload when its last one is done, which finds out
// how much the service can do. In an open loop uploads arrive at a fixed rate whatever the service does, which finds out how long they
// take under that load; their latency counts from when they should have arrived, so that an upload that had to wait because the
// service was slow with the ones before it shows as slow itself.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// load says how many uploads, and when.
type load struct {
	workers int           // uploads at a time at most
	rate    float64       // arrivals a second; 0: closed loop
	during  time.Duration // no upload starts later; 0: no limit
	count   int           // no more uploads than this; 0: no limit
}

// finished is one upload of a load. Times count from the load's start.
type finished struct {
	intended, end time.Duration
	uploaded
	want counts
}

func (f finished) latency() time.Duration { return f.end - f.intended }

// loaded is what a load did.
type loaded struct {
	uploads []finished
	took    time.Duration // to the last result
	short   bool          // the pairs were used up before the time was over
}

func (l loaded) pairs() int {
	n := 0
	for _, u := range l.uploads {
		n += u.want.pairs()
	}
	return n
}

func (l loaded) rate() float64 { return float64(l.pairs()) / l.took.Seconds() }

func (l loaded) refused() int {
	n := 0
	for _, u := range l.uploads {
		n += u.refused
	}
	return n
}

// latencies are in seconds.
func (l loaded) latencies() []float64 {
	var all []float64
	for _, u := range l.uploads {
		all = append(all, u.latency().Seconds())
	}
	return all
}

// cumulative is how many pairs were done when.
func (l loaded) cumulative() []Point {
	points := []Point{{}}
	done := 0.0
	for _, u := range l.uploads {
		done += float64(u.want.pairs())
		points = append(points, Point{u.end.Seconds(), done})
	}
	return points
}

// run sends the bodies that next makes; it is called from one goroutine at a time. The first failure ends the load.
func (l load) run(ctx context.Context, s *server, next func() (*body, error)) (loaded, error) {
	if l.during <= 0 && l.count <= 0 {
		return loaded{}, errors.New("a load needs a duration or a number of uploads")
	}
	group, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex // guards result and calls of next
	var result loaded
	var arrivals atomic.Int64
	start := time.Now()
	worker := func() error {
		c := s.dial()
		defer c.close()
		for {
			i := int(arrivals.Add(1)) - 1
			intended := time.Since(start)
			if l.rate > 0 {
				intended = time.Duration(float64(i) / l.rate * float64(time.Second))
			}
			if l.during > 0 && intended >= l.during || l.count > 0 && i >= l.count {
				return nil
			}
			if err := pause(ctx, intended-time.Since(start)); err != nil {
				return err
			}
			mu.Lock()
			b, err := next()
			if errors.Is(err, errUsedUp) {
				result.short = true
			}
			mu.Unlock()
			if errors.Is(err, errUsedUp) {
				return nil
			}
			if err != nil {
				return err
			}
			u, err := c.upload(ctx, b)
			if err != nil {
				return errors.Join(err, s.alive())
			}
			mu.Lock()
			result.uploads = append(result.uploads, finished{intended: intended, end: time.Since(start), uploaded: u, want: b.want})
			mu.Unlock()
		}
	}
	for range l.workers {
		group.Go(worker)
	}
	if err := group.Wait(); err != nil {
		return loaded{}, err
	}
	if len(result.uploads) == 0 {
		return loaded{}, fmt.Errorf("no upload was sent: %w", errUsedUp)
	}
	result.took = result.uploads[len(result.uploads)-1].end
	return result, nil
}
