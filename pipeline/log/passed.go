package log

// Whether a group has passed what was in a topic at some moment.

import (
	"context"
	"fmt"
	"time"

	"countersign/internal/pause"
)

// passedPause is how long AwaitCommitted waits before it asks again. Groups commit a few times a second.
const passedPause = 50 * time.Millisecond

// Ends returns the offset after the last record of each partition that all in-sync replicas hold. The error is
// ErrUnavailable where the brokers can't be asked within ctx.
func (c *Client) Ends(ctx context.Context, topic string) ([]int64, error) {
	topic = c.onBroker(topic)
	ends, err := c.ends(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("ends of topic %s: %w", topic, err)
	}
	return ends, nil
}

// ends is Ends for a topic's name on the brokers.
func (c *Client) ends(ctx context.Context, topic string) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for attempt := 0; ; attempt++ {
		ends, err := c.endsNow(ctx, topic)
		if err == nil {
			return ends, nil
		}
		if !retriable(err) || pause.For(ctx, retryPause(attempt)) != nil {
			return nil, markUnavailable(err)
		}
	}
}

func (c *Client) endsNow(ctx context.Context, topic string) ([]int64, error) {
	n, err := c.partitionsNow(ctx, topic)
	if err != nil {
		return nil, err
	}
	ranges, err := c.offsetRanges(ctx, topic, n)
	if err != nil {
		return nil, err
	}
	ends := make([]int64, n)
	for p, r := range ranges {
		ends[p] = r.end
	}
	return ends, nil
}

// AwaitCommitted returns nil once the group has committed at least ends[p] in each partition p of the topic: then it is
// done with every record below. The error is ErrUnavailable where ctx ends before.
func (c *Client) AwaitCommitted(ctx context.Context, group, topic string, ends []int64) error {
	group, topic = c.onBroker(group), c.onBroker(topic)
	for {
		passed, err := c.passed(ctx, group, topic, ends)
		if passed {
			return nil
		}
		if err != nil && !retriable(err) {
			return fmt.Errorf("group %s on topic %s: %w", group, topic, markUnavailable(err))
		}
		if pause.For(ctx, passedPause) != nil {
			return fmt.Errorf("group %s has not passed what topic %s held: %w", group, topic, markUnavailable(ctx.Err()))
		}
	}
}

func (c *Client) passed(ctx context.Context, group, topic string, ends []int64) (bool, error) {
	ids := make([]int, len(ends))
	for p := range ids {
		ids[p] = p
	}
	offsets, err := c.committed(ctx, group, topic, ids)
	if err != nil {
		return false, err
	}
	ranges, err := c.offsetRanges(ctx, topic, len(ends)) // what retention has deleted was passed, or never will be
	if err != nil {
		return false, err
	}
	for p, end := range ends {
		if max(offsets[p].next, ranges[p].first) < end {
			return false, nil
		}
	}
	return true, nil
}
