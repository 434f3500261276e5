package bench

// Many uploads at once. In a closed loop each of the workers starts its next upload when its last one is done, which
// finds out how much the service can do. In an open loop uploads arrive at a fixed rate whatever the service does,
// which finds out how long they take under that load; their latency counts from when they should have arrived, so that
// an upload that had to wait because the service was slow with the ones before it shows as slow itself.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"countersign/internal/pause"
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
	uploads []finished    // in the order of their ends
	during  time.Duration // the load's; 0: it was a number of uploads
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

// rate is pairs a second. Under a load that lasts a time only what was done within it counts: afterwards the load
// dwindles.
func (l loaded) rate() float64 {
	if l.during == 0 || l.short || l.uploads[0].end > l.during {
		return float64(l.pairs()) / l.took.Seconds()
	}
	n := 0
	for _, u := range l.uploads {
		if u.end <= l.during {
			n += u.want.pairs()
		}
	}
	return float64(n) / l.during.Seconds()
}

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

// run sends the bodies that next makes to a service, each worker over a connection of its own.
func (l load) run(ctx context.Context, s *server, next func() (*body, error)) (loaded, error) {
	conns := make(chan *conn, l.workers)
	for range l.workers {
		conns <- s.dial()
	}
	result, err := l.drive(ctx, next, func(ctx context.Context, b *body) (uploaded, error) {
		c := <-conns
		defer func() { conns <- c }()
		u, err := c.upload(ctx, b)
		if err != nil {
			return u, errors.Join(err, s.alive())
		}
		return u, nil
	})
	for range l.workers {
		(<-conns).close()
	}
	return result, err
}

// drive hands the bodies that next makes to send when they are due. next is called from one goroutine at a time, send
// from as many as there are workers. The first failure ends the load.
func (l load) drive(ctx context.Context, next func() (*body, error), send func(context.Context, *body) (uploaded, error)) (loaded, error) {
	if l.during <= 0 && l.count <= 0 {
		return loaded{}, errors.New("a load needs a duration or a number of uploads")
	}
	group, ctx := errgroup.WithContext(ctx)
	d := &driver{load: l, next: next, send: send, start: time.Now(), result: loaded{during: l.during}}
	for range l.workers {
		group.Go(func() error { return d.work(ctx) })
	}
	if err := group.Wait(); err != nil {
		return loaded{}, err
	}
	if len(d.result.uploads) == 0 {
		return loaded{}, fmt.Errorf("no upload was sent: %w", errUsedUp)
	}
	d.result.took = d.result.uploads[len(d.result.uploads)-1].end
	return d.result, nil
}

// driver is a load under way.
type driver struct {
	load
	send     func(context.Context, *body) (uploaded, error)
	start    time.Time
	arrivals atomic.Int64

	mu     sync.Mutex // guards what follows
	next   func() (*body, error)
	result loaded
}

// work sends one upload after the other until the load is over.
func (d *driver) work(ctx context.Context) error {
	for {
		i := int(d.arrivals.Add(1)) - 1
		intended := time.Since(d.start)
		if d.rate > 0 {
			intended = time.Duration(float64(i) / d.rate * float64(time.Second))
		}
		if d.during > 0 && intended >= d.during || d.count > 0 && i >= d.count {
			return nil
		}
		if err := pause.For(ctx, intended-time.Since(d.start)); err != nil {
			return err
		}
		b, err := d.draw()
		if b == nil || err != nil {
			return err
		}
		u, err := d.send(ctx, b)
		if err != nil {
			return err
		}
		d.mu.Lock()
		d.result.uploads = append(d.result.uploads, finished{intended: intended, end: time.Since(d.start), uploaded: u, want: b.want})
		d.mu.Unlock()
	}
}

// draw makes the next body; it is nil where the pairs are used up, which ends the load early.
func (d *driver) draw() (*body, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, err := d.next()
	if errors.Is(err, errUsedUp) {
		d.result.short = true
		return nil, nil
	}
	return b, err
}
