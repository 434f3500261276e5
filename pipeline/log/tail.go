package log

// Following a topic from its end, without a group: every process sees every record, and nothing is committed.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// tailPatience is how long a partition may be without an answer before Check says so: a fetch that finds nothing takes
// fetchWait.
const tailPatience = fetchWait + 3*time.Second

// Tail is a position at the end of every partition of a topic, fixed when OpenTail returned. Check and CaughtUp are
// safe for concurrent use, while Run runs, too.
type Tail struct {
	c       *Client
	readers []*reader
	askers  []*reader // for CaughtUp: the readers' connections are busy waiting; owned by the goroutine that asks

	mu      sync.Mutex
	given   []int64       // by partition: everything below was given to fn; guarded by mu
	contact []time.Time   // by partition: when a broker last answered; guarded by mu
	moved   chan struct{} // closed, and replaced, when given moves; guarded by mu
	next    *endsRound    // the round that new callers of CaughtUp join; nil: nobody waits; guarded by mu
	asking  bool          // a goroutine asks; guarded by mu
	ended   bool          // Run has returned, or Close was called; guarded by mu
	wg      sync.WaitGroup
	stop    context.CancelFunc // ends the rounds
	rounds  context.Context    // of the rounds
}

// endsRound is one question where the partitions end, for all who asked for it before it began.
type endsRound struct {
	done chan struct{}
	ends []int64 // valid after done
	err  error   // valid after done
}

// OpenTail fixes the position: Run will see every record that is produced after OpenTail returned, and none that was
// acknowledged before OpenTail was called. It fails with ErrUnavailable if the brokers can't be reached. A Tail must
// be run or closed.
func (c *Client) OpenTail(ctx context.Context, topic string) (*Tail, error) {
	topic = c.onBroker(topic)
	n, err := c.partitions(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("tail topic %s: %w", topic, err)
	}
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	t := &Tail{c: c, given: make([]int64, n), contact: make([]time.Time, n), moved: make(chan struct{})}
	t.rounds, t.stop = context.WithCancel(context.Background())
	var g errgroup.Group
	for p := range n {
		r := &reader{c: c, topicPartition: topicPartition{topic, p}}
		r.answered = func(messages int) { t.heard(r, messages) }
		t.readers = append(t.readers, r)
		t.askers = append(t.askers, &reader{c: c, topicPartition: r.topicPartition})
		g.Go(func() error {
			held, err := r.bounds(ctx)
			r.next, t.given[p], t.contact[p] = held.end, held.end, time.Now()
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Close()
		return nil, fmt.Errorf("tail topic %s: %w", topic, markUnavailable(err))
	}
	return t, nil
}

// Close frees the connections of a Tail that isn't run.
func (t *Tail) Close() {
	t.mu.Lock()
	t.ended = true
	close(t.moved) // wakes who waits
	t.moved = make(chan struct{})
	t.mu.Unlock()
	t.stop()
	t.wg.Wait()
	for _, r := range append(t.readers, t.askers...) {
		r.disconnect()
	}
}

// Run calls fn for each record from the position on, until ctx ends (the result is nil) or fn fails (the result is
// its error). Calls don't overlap, and records of one partition come in order. Connections are made anew after
// failures; Check says how long that takes. Where retention has deleted what comes next, the result is ErrOffsetGone:
// the caller has missed records. Run is called once.
func (t *Tail) Run(ctx context.Context, fn func(Message) error) error {
	defer t.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		calling sync.Mutex
		failed  error // guarded by calling
		wg      sync.WaitGroup
	)
	for _, r := range t.readers {
		wg.Go(func() {
			for ctx.Err() == nil {
				msgs, err := r.fetchSome(ctx)
				calling.Lock()
				if errors.Is(err, ErrOffsetGone) && failed == nil {
					failed = err
					cancel()
				}
				for _, m := range msgs {
					if failed != nil || ctx.Err() != nil {
						break
					}
					if failed = fn(m); failed != nil {
						cancel()
					}
				}
				calling.Unlock()
				if ctx.Err() == nil {
					t.gave(r)
				}
			}
		})
	}
	wg.Wait()
	return failed
}

// heard notes that a broker answered. Without messages, the reader may have passed offsets that hold none.
func (t *Tail) heard(r *reader, messages int) {
	t.mu.Lock()
	t.contact[r.partition] = time.Now()
	t.mu.Unlock()
	if messages == 0 {
		t.gave(r)
	}
}

// gave notes that everything below the reader's position was given to fn.
func (t *Tail) gave(r *reader) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.given[r.partition] = r.next
	close(t.moved)
	t.moved = make(chan struct{})
}

// Check returns nil while every partition is followed, and otherwise an ErrUnavailable that says since when one isn't.
// Without a broker that takes eight seconds to show; Client.Check shows it sooner. Check doesn't wait.
func (t *Tail) Check() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return fmt.Errorf("tail: %w", ErrClosed)
	}
	for p, last := range t.contact {
		if silent := time.Since(last); silent > tailPatience {
			return fmt.Errorf("%w: topic %s partition %d could not be read for %s", ErrUnavailable, t.readers[p].topic, p,
				silent.Round(time.Second))
		}
	}
	return nil
}

// CaughtUp returns nil when every record that was acknowledged before the call, and after OpenTail, has been given to
// fn (whose call has returned). Callers that come while one question is under way share the next, which is one round
// trip to the partitions' leaders. It fails when ctx ends, when the leaders can't be asked, and with ErrClosed after
// Run or Close.
func (t *Tail) CaughtUp(ctx context.Context) error {
	round, err := t.joinRound()
	if err != nil {
		return err
	}
	select {
	case <-round.done:
	case <-ctx.Done():
		return fmt.Errorf("ask where the log ends: %w", ctx.Err())
	}
	if round.err != nil {
		return round.err
	}
	for {
		behind, moved, err := t.behind(round.ends)
		if err != nil || !behind {
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for the log's latest records: %w", ctx.Err())
		}
	}
}

// behind reports whether some record below ends is still to be given to fn, and what is closed when that may change.
func (t *Tail) behind(ends []int64) (behind bool, moved <-chan struct{}, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return false, nil, fmt.Errorf("tail: %w", ErrClosed)
	}
	for p, end := range ends {
		if t.given[p] < end {
			return true, t.moved, nil
		}
	}
	return false, nil, nil
}

// joinRound returns the next round, and sees to it that somebody asks it.
func (t *Tail) joinRound() (*endsRound, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return nil, fmt.Errorf("tail: %w", ErrClosed)
	}
	if t.next == nil {
		t.next = &endsRound{done: make(chan struct{})}
	}
	if !t.asking {
		t.asking = true
		t.wg.Go(t.askRounds)
	}
	return t.next, nil
}

// beginRound takes the next round from its callers. nil: nobody waits, and askRounds has to end.
func (t *Tail) beginRound() *endsRound {
	t.mu.Lock()
	defer t.mu.Unlock()
	round := t.next
	t.next = nil
	t.asking = round != nil
	return round
}

// askRounds asks until nobody waits.
func (t *Tail) askRounds() {
	for round := t.beginRound(); round != nil; round = t.beginRound() {
		round.ends, round.err = t.askEnds()
		close(round.done)
	}
}

// askEnds asks the leaders where the partitions end.
func (t *Tail) askEnds() ([]int64, error) {
	ctx, cancel := context.WithTimeout(t.rounds, askLimit)
	defer cancel()
	ends := make([]int64, len(t.askers))
	var g errgroup.Group
	for p, r := range t.askers {
		g.Go(func() error {
			end, err := r.endOnce(ctx)
			if err != nil && ctx.Err() == nil { // the leader moved, or hung up on an idle connection
				end, err = r.endOnce(ctx)
			}
			ends[p] = end
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("ask where topic %s ends: %w", t.askers[0].topic, markUnavailable(err))
	}
	return ends, nil
}
