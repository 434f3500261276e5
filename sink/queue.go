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
// processor time, however small it is. For the same reason the first record of a large upload waits for the next ones,
// which are on their way.
//
// For the same reason the writer rests between small flushes, as long as the last insert took, where rows came during
// that insert. So a flood of small uploads keeps it busy for half of the time at most, and a large upload, whose flush
// is due at once, more often finds it free. Somebody who uploads one list after the other never meets the rest.
//
// The queue also keeps account of the memory that is on its way: records from when they were fetched, and rows, until
// they are stored.
type flushQueue struct {
	maxPending, maxFlush int64 // bytes
	maxRows, leastInsert int
	linger               time.Duration
	clock                func() time.Time
	gauge                func(float64) // set to the pending bytes at each change

	wake chan struct{} // cap 1: the writer may look again; never closed

	mu      sync.Mutex
	waiting []*flush      // guarded by mu, as is all below
	spare   []*flush      // empty ones, for their columns; at most two, since two are written at a time
	rested  time.Time     // when the writer has rested; before that no small flush is due
	pending int64         // bytes
	writing int           // flushes that were dequeued and not released
	freed   chan struct{} // closed and replaced when pending falls below maxPending
}

func newFlushQueue(c Config, gauge func(float64)) *flushQueue {
	return &flushQueue{
		maxPending: c.MaxPendingBytes, maxFlush: min(c.MaxFlushBytes, c.MaxPendingBytes), maxRows: c.MaxFlushRows, leastInsert: c.LeastInsert,
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
	f := new(flush)
	if n := len(q.spare); n > 0 {
		f, q.spare = q.spare[n-1], q.spare[:n-1]
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

// comingWait is how long rows wait for others of the same upload that are on their way.
const comingWait = 50 * time.Millisecond

// due removes and returns the oldest flush if it is due. Otherwise it says how long that flush still lingers, or 0
// where another event makes it due.
func (q *flushQueue) due() (f *flush, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil, 0
	}
	f = q.waiting[0]
	if open := len(q.waiting) == 1; open && q.pending < q.maxPending {
		if q.writing > 0 && !q.goesBeside(f) {
			return nil, 0 // release wakes the writer
		}
		if wait = q.dueAt(f).Sub(q.clock()); wait > 0 {
			return nil, wait
		}
	}
	q.waiting = slices.Delete(q.waiting, 0, 1)
	q.writing++
	return f, 0
}

// goesBeside reports whether a flush is begun while another one is finished. While more comes at once, it is worth
// waiting for a larger part.
func (q *flushQueue) goesBeside(f *flush) bool {
	least := q.leastInsert
	if len(f.continued) > 0 {
		least *= 2
	}
	return f.hashes.Len() >= least
}

// dueAt is when a flush is due that isn't full and to which nothing is added. The caller holds mu.
func (q *flushQueue) dueAt(f *flush) time.Time {
	at := f.begun.Add(q.lingers(f))
	if f.awaited && f.bytes < smallFlush && q.rested.After(at) {
		return q.rested
	}
	return at
}

// lingers is how long a flush that isn't full waits for more rows, from when it was begun.
func (q *flushQueue) lingers(f *flush) time.Duration {
	switch {
	case !f.awaited:
		return q.linger
	case len(f.continued) > 0 && f.hashes.Len() < q.leastInsert:
		return comingWait
	}
	return 0
}

// anyWaits reports whether there are rows behind those that the writer has.
func (q *flushQueue) anyWaits() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) > 0
}

// release takes back a flush that was dequeued and is stored.
func (q *flushQueue) release(f *flush) {
	bytes, started := f.bytes, f.started
	f.reset()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.account(-bytes)
	if len(q.waiting) > 0 {
		now := q.clock()
		q.rested = now.Add(min(now.Sub(started), q.linger))
	}
	q.writing--
	q.signal()
	if len(q.spare) < 2 && cap(f.hashes.Upload) <= spareRows {
		q.spare = append(q.spare, f)
	}
}
