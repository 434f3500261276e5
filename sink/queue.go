package sink

import (
	"context"
	"slices"
	"sync"
	"time"
)

// flushQueue is where shards leave rows and the writer finds them: flushes in the order in which they were begun, the
// last of them open. So whatever arrives while an insert is in flight is one insert later, and a shard's rows stay in
// the order of its log.
//
// It is the one queue of this module whose batches end by size or age. The others are internal/queue, and hand over
// whatever has come. A flush is due at once unless it holds nothing but rows of single signings. Those linger, so that
// thousands of signings a second make a few inserts and not hundreds: each insert costs ClickHouse some 10 ms of
// processor time, however small it is.
//
// For the same reason the writer rests between small flushes, as long as the last insert took, where rows came during
// that insert. So a flood of small uploads keeps it busy for half of the time at most, and a large upload, whose flush
// is due at once, more often finds it free. Somebody who uploads one list after the other never meets the rest.
//
// The queue also keeps account of the memory that is on its way: records from when they were fetched, and rows, until
// they are stored.
type flushQueue struct {
	maxPending, maxFlush int64 // bytes
	maxRows              int
	linger               time.Duration
	clock                func() time.Time
	gauge                func(float64) // set to the pending bytes at each change

	wake chan struct{} // cap 1: the writer may look again; never closed

	mu      sync.Mutex
	waiting []*flush      // guarded by mu, as is all below
	spare   *flush        // an empty one, for its columns; may be nil
	rested  time.Time     // when the writer has rested; before that no small flush is due
	pending int64         // bytes
	freed   chan struct{} // closed and replaced when pending falls below maxPending
}

func newFlushQueue(c Config, gauge func(float64)) *flushQueue {
	return &flushQueue{
		maxPending: c.MaxPendingBytes, maxFlush: min(c.MaxFlushBytes, c.MaxPendingBytes), maxRows: c.MaxFlushRows,
		linger: c.Linger, clock: c.Clock, gauge: gauge,
		wake: make(chan struct{}, 1), freed: make(chan struct{}),
	}
}

// waitForRoom waits until less than maxPending bytes are on their way.
func (q *flushQueue) waitForRoom(ctx context.Context) error {
	for {
		q.mu.Lock()
		full, freed := q.pending >= q.maxPending, q.freed
		q.mu.Unlock()
		if !full {
			return ctx.Err()
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// addPending adds n bytes to those on their way; a negative n takes them off.
func (q *flushQueue) addPending(n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.account(n)
}

// account is addPending for a caller that holds mu.
func (q *flushQueue) account(n int64) {
	wasFull := q.pending >= q.maxPending
	q.pending += n
	q.gauge(float64(q.pending))
	if wasFull && q.pending < q.maxPending {
		close(q.freed)
		q.freed = make(chan struct{})
	}
}

// add queues a record's rows. size is the bytes of the record itself, which are pending already. The writer isn't woken
// before signal.
func (q *flushQueue) add(s *shard, next, size int64, r *rows) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.account(q.open().add(s, next, size, r))
}

// open returns the flush that the next rows go to. The caller holds mu.
func (q *flushQueue) open() *flush {
	if n := len(q.waiting); n > 0 {
		if last := q.waiting[n-1]; last.bytes < q.maxFlush && last.hashes.Len() < q.maxRows {
			return last
		}
	}
	f := q.spare
	if q.spare = nil; f == nil {
		f = new(flush)
	}
	f.begun = q.clock()
	q.waiting = append(q.waiting, f)
	return f
}

// signal wakes the writer.
func (q *flushQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// dequeue waits until the oldest flush is due and hands it to the writer; nil when ctx ends first.
func (q *flushQueue) dequeue(ctx context.Context) *flush {
	for {
		f, wait := q.due()
		if f != nil {
			return f
		}
		var lingered <-chan time.Time
		if wait > 0 {
			lingered = time.After(wait)
		}
		select {
		case <-q.wake:
		case <-lingered:
		case <-ctx.Done():
			return nil
		}
	}
}

// smallFlush is the size below which a flush waits until the writer has rested: some 1,000 pairs with RSA-2048.
const smallFlush = 512 << 10 // bytes

// due removes and returns the oldest flush if it is due. Otherwise it says how long that flush still waits; 0 where
// there is none.
func (q *flushQueue) due() (f *flush, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil, 0
	}
	f = q.waiting[0]
	now := q.clock()
	if wait = q.dueAt(f).Sub(now); wait > 0 && len(q.waiting) == 1 && q.pending < q.maxPending {
		return nil, wait
	}
	q.waiting = slices.Delete(q.waiting, 0, 1)
	f.dequeued = now
	return f, 0
}

// dueAt is when a flush is due to which nothing is added. The caller holds mu.
func (q *flushQueue) dueAt(f *flush) time.Time {
	switch {
	case !f.awaited:
		return f.begun.Add(q.linger)
	case f.bytes < smallFlush:
		return q.rested
	}
	return f.begun
}

// anyWaits reports whether there are rows behind those that the writer has.
func (q *flushQueue) anyWaits() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) > 0
}

// release takes back a flush that was dequeued and is stored.
func (q *flushQueue) release(f *flush) {
	bytes, dequeued := f.bytes, f.dequeued
	f.reset()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.account(-bytes)
	if len(q.waiting) > 0 {
		now := q.clock()
		q.rested = now.Add(min(now.Sub(dequeued), q.linger))
	}
	if q.spare == nil && cap(f.hashes.Upload) <= spareRows {
		q.spare = f
	}
}
