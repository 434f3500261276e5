package log

import (
	"context"
	"fmt"
	"sync"
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

// Topic is the partition's topic, without Config.Prefix.
func (p *Partition) Topic() string { return p.c.offBroker(p.reader.topic) }

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
