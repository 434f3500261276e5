package log

// Following a topic from its end, without a group: every process sees every record, and nothing is committed.

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Tail is a position at the end of every partition of a topic, fixed when OpenTail returned.
type Tail struct {
	c       *Client
	readers []*reader
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
	t := &Tail{c: c}
	var g errgroup.Group
	for p := range n {
		r := &reader{c: c, topicPartition: topicPartition{topic, p}}
		t.readers = append(t.readers, r)
		g.Go(func() error {
			held, err := r.bounds(ctx)
			r.next = held.end
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
	for _, r := range t.readers {
		r.disconnect()
	}
}

// Run calls fn for each record from the position on, until ctx ends (the result is nil) or fn fails (the result is
// its error). Calls don't overlap, and records of one partition come in order. Connections are made anew after
// failures. Where retention has deleted what comes next, Run goes on at the end. Run is called once.
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
				if errors.Is(err, ErrOffsetGone) {
					t.skip(ctx, r)
				}
				calling.Lock()
				for _, m := range msgs {
					if failed != nil || ctx.Err() != nil {
						break
					}
					if failed = fn(m); failed != nil {
						cancel()
					}
				}
				calling.Unlock()
			}
		})
	}
	wg.Wait()
	return failed
}

// skip moves a reader whose offset left the log to its end.
func (t *Tail) skip(ctx context.Context, r *reader) {
	held, err := r.bounds(ctx)
	if err != nil {
		return // ctx ended
	}
	t.c.logger.Warn("kafka: tail lost its place, going on at the end",
		"topic", r.topic, "partition", r.partition, "from", r.next, "to", held.end)
	r.next = held.end
}
