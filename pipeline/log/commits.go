package log

// Committing offsets. Handlers call Commit as often as they like; what they have reached is sent together, a few
// times a second.

import (
	"errors"
	"fmt"
	"sync"

	"github.com/segmentio/kafka-go"
)

// commits gathers the offsets of one generation's partitions and sends them to the group's coordinator, which refuses
// them once the generation is over. It is safe for concurrent use.
type commits struct {
	send func(map[int]int64) error // blocks for an answer

	sending sync.Mutex // held during a request: an earlier one can't overtake a later one

	mu      sync.Mutex
	owned   map[int]bool  // partitions whose handler runs; guarded by mu
	reached map[int]int64 // where the partition's handler has got to; guarded by mu
	pending map[int]int64 // offsets that are not yet sent; guarded by mu
}

func newCommits(send func(map[int]int64) error) *commits {
	return &commits{send: send, owned: map[int]bool{}, reached: map[int]int64{}, pending: map[int]int64{}}
}

// open admits commits for the partition, whose handler begins at start.
func (c *commits) open(partition int, start int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owned[partition] = true
	c.reached[partition] = start
	delete(c.pending, partition)
}

// pin commits start itself, although nothing is done yet.
func (c *commits) pin(partition int, start int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, newer := c.pending[partition]; !newer {
		c.pending[partition] = start
	}
}

// position is where the partition's handler has got to.
func (c *commits) position(partition int) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reached[partition]
}

// close admits no more commits for the partition, and sends what is pending.
func (c *commits) close(partition int) error {
	c.mu.Lock()
	delete(c.owned, partition)
	c.mu.Unlock()
	return c.flush()
}

// set notes that the partition's handler has got to next. It ignores partitions that nobody handles, and lower
// offsets than before.
func (c *commits) set(partition int, next int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owned[partition] && next > c.reached[partition] {
		c.reached[partition] = next
		c.pending[partition] = next
	}
}

// flush sends what is pending. What can't be sent stays pending, unless the generation is over (ErrRevoked).
func (c *commits) flush() error {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.mu.Lock()
	offsets := c.pending
	c.pending = map[int]int64{}
	c.mu.Unlock()
	if len(offsets) == 0 {
		return nil
	}
	err := c.send(offsets)
	switch {
	case err == nil:
		return nil
	case generationOver(err):
		return fmt.Errorf("%w: %w", ErrRevoked, err)
	}
	c.keepPending(offsets)
	return markUnavailable(err)
}

// keepPending makes offsets pending again that could not be sent, except where a newer one is pending already, and
// where the offset lies beyond the handler's position. The latter happens when Kafka lost records during the request,
// so that the handler was started again from an earlier offset: the group must not skip what the handler reads now.
func (c *commits) keepPending(offsets map[int]int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for partition, next := range offsets {
		if _, newer := c.pending[partition]; !newer && next <= c.reached[partition] {
			c.pending[partition] = next
		}
	}
}

// generationOver says that the coordinator no longer takes this generation for the current one.
func generationOver(err error) bool {
	return errors.Is(err, kafka.IllegalGeneration) || errors.Is(err, kafka.UnknownMemberId) ||
		errors.Is(err, kafka.RebalanceInProgress) || errors.Is(err, kafka.FencedInstanceID)
}
