package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/segmentio/kafka-go"
)

// Partition is one assigned partition, for as long as its Handle call runs. Fetch is for one goroutine; the other methods are
// safe for concurrent use.
type Partition struct {
	c       *Client
	reader  *reader // Fetch's
	start   int64
	commits *commits

	mu    sync.Mutex
	spare *reader // ReadRange's, kept between calls; guarded by mu
}

// ID is the partition's number.
func (p *Partition) ID() int { return p.reader.partition }

// Topic is the partition's topic.
func (p *Partition) Topic() string { return p.reader.topic }

// Start is where Fetch starts: the group's committed offset, or where GroupConfig says if there is none.
func (p *Partition) Start() int64 { return p.start }

// Fetch waits until there is at least one message after those returned before, and returns what one request brought, in order.
// Offsets may have gaps. Errors of the network and of brokers are retried until ctx ends. ErrOffsetGone means that retention or
// a broker's loss took the records that come next; return it from Handle, which then starts at what is left.
func (p *Partition) Fetch(ctx context.Context) ([]Message, error) {
	return p.reader.fetchSome(ctx)
}

// Commit records that everything below next is done, where the group goes on after a restart. It returns at once: offsets are
// sent a few times a second and when Handle returns. A lower offset than before is ignored, and so is a call after Handle
// returned, or after the partition went to another member. What was acknowledged before the call, by a producer of the same
// client, is on the embedded broker's disk before the offset is.
func (p *Partition) Commit(next int64) { p.commits.set(p.ID(), next) }

// CommitNow is Commit, and waits for the broker's answer, a few seconds at most. ErrRevoked: another member owns the partition.
func (p *Partition) CommitNow(ctx context.Context, next int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !p.commits.set(p.ID(), next) {
		return fmt.Errorf("commit topic %s partition %d offset %d: %w", p.Topic(), p.ID(), next, ErrRevoked)
	}
	if err := p.commits.flush(); err != nil {
		return fmt.Errorf("commit topic %s partition %d offset %d: %w", p.Topic(), p.ID(), next, err)
	}
	return nil
}

// ReadRange reads the partition's records in [from, to) again, in order, without moving Fetch. to must not exceed what the log is
// known to hold, for instance one more than the last offset fetched. An error of fn ends it and is returned. ErrOffsetGone: the
// log no longer begins at or before from, and fn has not seen all there was.
func (p *Partition) ReadRange(ctx context.Context, from, to int64, fn func(Message) error) error {
	if from >= to {
		return nil
	}
	r := p.borrow()
	defer p.giveBack(r)
	r.next = from
	for r.next < to {
		msgs, err := r.fetchSome(ctx)
		if err != nil {
			return fmt.Errorf("read offsets %d to %d again: %w", from, to, err)
		}
		for _, m := range msgs {
			if m.Offset >= to {
				return nil
			}
			if err := fn(m); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Partition) borrow() *reader {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.spare; r != nil {
		p.spare = nil
		return r
	}
	return &reader{c: p.c, topicPartition: p.reader.topicPartition}
}

func (p *Partition) giveBack(r *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.spare == nil {
		p.spare = r
		return
	}
	r.disconnect()
}

// close frees the connections.
func (p *Partition) close() {
	p.reader.disconnect()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.spare != nil {
		p.spare.disconnect()
	}
}

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
		if _, newer := c.pending[partition]; !newer {
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
