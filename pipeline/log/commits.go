package log

import (
	"errors"
	"fmt"
	"sync"

	"github.com/segmentio/kafka-go"
)

// commits gathers the offsets of one generation's partitions and sends them to the coordinator together, which refuses them once
// the generation is over.
type commits struct {
	send func(map[int]int64) error // blocks for an answer

	sending sync.Mutex // one request at a time, so that a later one can't be overtaken

	mu      sync.Mutex
	owned   map[int]bool  // partitions whose handler runs; guarded by mu
	reached map[int]int64 // highest offset given or committed; guarded by mu
	pending map[int]int64 // not yet sent; guarded by mu
}

func newCommits(send func(map[int]int64) error) *commits {
	return &commits{send: send, owned: map[int]bool{}, reached: map[int]int64{}, pending: map[int]int64{}}
}

// open admits commits for the partition that lie above start.
func (c *commits) open(partition int, start int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owned[partition] = true
	c.reached[partition] = start
	delete(c.pending, partition)
}

// pin has start itself committed although nothing was done yet.
func (c *commits) pin(partition int, start int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, newer := c.pending[partition]; !newer {
		c.pending[partition] = start
	}
}

// position is the highest offset committed, or given to be.
func (c *commits) position(partition int) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reached[partition]
}

// close sends what the partition has pending and admits no more for it.
func (c *commits) close(partition int) error {
	c.mu.Lock()
	delete(c.owned, partition)
	c.mu.Unlock()
	return c.flush()
}

// set takes note of an offset, and reports whether the partition is owned.
func (c *commits) set(partition int, next int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.owned[partition] {
		return false
	}
	if next > c.reached[partition] {
		c.reached[partition] = next
		c.pending[partition] = next
	}
	return true
}

// flush sends what is pending. What can't be sent stays pending, unless the generation is over.
func (c *commits) flush() error {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.mu.Lock()
	taken := c.pending
	c.pending = map[int]int64{}
	c.mu.Unlock()
	if len(taken) == 0 {
		return nil
	}
	err := c.send(taken)
	if err == nil {
		return nil
	}
	if generationOver(err) {
		return fmt.Errorf("%w: %w", ErrRevoked, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for partition, next := range taken {
		// Beyond what is reached: the handler was started again meanwhile, before that, because the log has lost records.
		if _, newer := c.pending[partition]; !newer && next <= c.reached[partition] {
			c.pending[partition] = next
		}
	}
	return unavailable(err)
}

// generationOver says that the coordinator no longer takes this generation for the current one.
func generationOver(err error) bool {
	return errors.Is(err, kafka.IllegalGeneration) || errors.Is(err, kafka.UnknownMemberId) || errors.Is(err, kafka.RebalanceInProgress) ||
		errors.Is(err, kafka.FencedInstanceID)
}
