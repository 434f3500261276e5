package log

// A partition that this process was assigned, as its handler sees it.

import (
	"context"
	"fmt"
	"sync"
)

// Partition is one assigned partition, for as long as its handler runs. Fetch is for one goroutine. The other methods
// are safe for concurrent use.
type Partition struct {
	c       *Client
	reader  *reader // owned by the goroutine that calls Fetch
	start   int64
	commits *commits

	mu    sync.Mutex
	spare *reader // kept between calls of ReadRange; guarded by mu
}

// ID is the partition's number.
func (p *Partition) ID() int { return p.reader.partition }

// Start is the offset at which Fetch starts: the group's committed one, or the log's first if nothing is committed.
func (p *Partition) Start() int64 { return p.start }

// Fetch waits until there is at least one message after those that it returned before, and returns what one request
// brought, in order. Offsets may have gaps. Errors of the network and of brokers are retried until ctx ends; the
// error is then ctx's cause, which is ErrRevoked when the partition was given up. ErrOffsetGone means that retention,
// or a broker's loss, took the records that come next: return it from the handler, which is then started at what is
// left.
func (p *Partition) Fetch(ctx context.Context) ([]Message, error) {
	return p.reader.fetchSome(ctx)
}

// Commit notes that everything below next is done: the group goes on at next after a restart. It returns at once.
// Offsets are sent a few times a second and when the handler returns. A lower offset than before is ignored, and so
// is a call after the handler returned, or after the partition went to another member. What the brokers acknowledged
// before the call, of this client's records, is on the embedded broker's disk before the offset is.
func (p *Partition) Commit(next int64) { p.CommitDone(next, 0) }

// CommitDone is Commit, and says that so many records at next and beyond are done, too, out of order. Lag doesn't count
// them. They are handled again after a restart like all records from next on. The latest call at the same next counts.
func (p *Partition) CommitDone(next, doneBeyond int64) {
	p.commits.set(p.ID(), progress{next, doneBeyond})
}

// ReadRange reads the partition's records in [from, to) again, in order, and calls fn for each. Fetch goes on where
// it was. to must not exceed what the log is known to hold, for instance one more than the last offset fetched:
// ReadRange would wait for the rest. An error of fn ends the reading and is returned. ErrOffsetGone means that the
// log no longer begins at or before from, and that fn has not seen all records of the range.
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
