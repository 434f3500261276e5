package log

// Committing offsets. Handlers call Commit as often as they like; what they have reached is sent together, a few
// times a second.

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/segmentio/kafka-go"
)

// commits gathers the offsets of one generation's partitions and sends them to the group's coordinator, which refuses
// them once the generation is over. It is safe for concurrent use.
type commits struct {
	send func(map[int]progress) error // blocks for an answer

	sending sync.Mutex // held during a request: an earlier one can't overtake a later one

	mu      sync.Mutex
	owned   map[int]bool     // partitions whose handler runs; guarded by mu
	reached map[int]progress // where the partition's handler has got to; guarded by mu
	pending map[int]progress // what is not yet sent; guarded by mu
}

// progress is how far a partition's handler is: everything below next is done, and so many records beyond it.
type progress struct{ next, done int64 }

// doneMetadata begins the metadata of an offset commit that tells of records beyond the offset that are done.
const doneMetadata = "done="

// metadata is what is committed with the offset.
func (p progress) metadata() string {
	if p.done <= 0 {
		return ""
	}
	return doneMetadata + strconv.FormatInt(p.done, 10)
}

// progressOf reads what was committed. Metadata that somebody else wrote counts as none.
func progressOf(next int64, metadata string) progress {
	text, ours := strings.CutPrefix(metadata, doneMetadata)
	done, err := strconv.ParseInt(text, 10, 64)
	if !ours || err != nil || done < 0 {
		done = 0
	}
	return progress{next, done}
}

// undone is how many records of what the partition holds are still to be done.
func (p progress) undone(held offsetRange) int64 {
	left := max(0, held.end-max(p.next, held.first))
	return left - min(left, p.done)
}

func newCommits(send func(map[int]progress) error) *commits {
	return &commits{send: send, owned: map[int]bool{}, reached: map[int]progress{}, pending: map[int]progress{}}
}

// open admits commits for the partition, whose handler begins at start.
func (c *commits) open(partition int, start int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owned[partition] = true
	c.reached[partition] = progress{next: start}
	delete(c.pending, partition)
}

// pin commits start itself, although nothing is done yet.
func (c *commits) pin(partition int, start int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, newer := c.pending[partition]; !newer {
		c.pending[partition] = progress{next: start}
	}
}

// position is where the partition's handler has got to.
func (c *commits) position(partition int) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reached[partition].next
}

// close admits no more commits for the partition, and sends what is pending.
func (c *commits) close(partition int) error {
	c.mu.Lock()
	delete(c.owned, partition)
	c.mu.Unlock()
	return c.flush()
}

// set notes how far the partition's handler has got. It ignores partitions that nobody handles, and lower offsets than
// before.
func (c *commits) set(partition int, at progress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.reached[partition]
	if c.owned[partition] && (at.next > was.next || at.next == was.next && at.done != was.done) {
		c.reached[partition] = at
		c.pending[partition] = at
	}
}

// flush sends what is pending. What can't be sent stays pending, unless the generation is over (ErrRevoked).
func (c *commits) flush() error {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.mu.Lock()
	offsets := c.pending
	c.pending = map[int]progress{}
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
func (c *commits) keepPending(offsets map[int]progress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for partition, at := range offsets {
		if _, newer := c.pending[partition]; !newer && at.next <= c.reached[partition].next {
			c.pending[partition] = at
		}
	}
}

// commitOffsets commits as a member of a generation. kafka-go's Generation can't send metadata with an offset. The
// configured brokers are asked in turn who the coordinator is, never two at once: a commit must not overtake a later
// one.
func (c *Client) commitOffsets(ctx context.Context, gen *kafka.Generation, topic string, at map[int]progress) error {
	req := &kafka.OffsetCommitRequest{GroupID: gen.GroupID, GenerationID: int(gen.ID), MemberID: gen.MemberID}
	var offsets []kafka.OffsetCommit
	for partition, p := range at {
		offsets = append(offsets, kafka.OffsetCommit{Partition: partition, Offset: p.next, Metadata: p.metadata()})
	}
	req.Topics = map[string][]kafka.OffsetCommit{topic: offsets}
	var err error
	for i := range c.admins {
		broker := (int(c.preferred.Load()) + i) % len(c.admins)
		if err = commitVia(ctx, c.admins[broker], req); err == nil || !connectionLost(err) {
			return err
		}
	}
	return err
}

func commitVia(ctx context.Context, a *kafka.Client, req *kafka.OffsetCommitRequest) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	res, err := a.OffsetCommit(ctx, req)
	if err != nil {
		return err
	}
	for _, partitions := range res.Topics {
		for _, p := range partitions {
			if p.Error != nil {
				return p.Error
			}
		}
	}
	return nil
}

// generationOver says that the coordinator no longer takes this generation for the current one.
func generationOver(err error) bool {
	return errors.Is(err, kafka.IllegalGeneration) || errors.Is(err, kafka.UnknownMemberId) ||
		errors.Is(err, kafka.RebalanceInProgress) || errors.Is(err, kafka.FencedInstanceID)
}
