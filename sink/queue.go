package sink

import (
	"context"
	"slices"
	"sync"
	"time"

	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

// queue is where shards leave rows and the writer finds them: flushes in the order they were begun, the last of them open. So
// whatever arrives while an insert is in flight is one insert later, and a shard's rows stay in the order of its log.
//
// A flush is due at once, unless it holds nothing but rows of single signings: those linger, so that thousands of signings a second make
// a few inserts and not hundreds, each of which costs ClickHouse some 10 ms of processor time however small it is.
//
// It also keeps account of the memory that is on its way: records from when they were fetched, and rows, until they are stored.
//
// Rows are copied into columns once, by the shard, under the lock: a record takes about 0.1 ms. Rejected: columns built by each
// shard and merged by the writer, a second copy; a lock per column set, which buys nothing with one writer.
type queue struct {
	maxPending, maxFlush int64 // bytes
	maxRows              int
	linger               time.Duration
	clock                func() time.Time
	gauge                func(float64) // told the pending bytes at each change

	wake chan struct{} // cap 1: the writer may look again; never closed

	mu      sync.Mutex
	waiting []*flush      // all below by mu
	spare   *flush        // an empty one, for its columns
	pending int64         // bytes
	decided int           // hashes of single signings that were told of and aren't stored
	freed   chan struct{} // closed and replaced when pending falls below maxPending
}

// flush is what is written together. The writer has it for itself once it was taken.
type flush struct {
	hashes       store.HashRows
	results      []store.ResultRow
	uploads      []store.Upload
	certificates []store.Certificate
	events       []*recordpb.Event // that leave once all is stored
	marks        []mark
	bytes        int64
	decided      int // hashes that were told of already
	begun        time.Time
	urgent       bool // somebody waits for rows of it
}

// mark says how far a shard's log is done once the flush is stored.
type mark struct {
	shard *shard
	next  int64 // offset
	rows  int   // of hashes
	count int   // records
}

// maxDecided is how many single signings may be told of before they are stored: ingest keeps four times as many in memory, of all sinks. Past
// it, with a slow ClickHouse, they are told of when they are stored.
const maxDecided = 1 << 12

const (
	hashRowBytes   = 32 + 16 + 4 + 16 + 8 + 16 + 24 + 32 // of the columns; the signature itself is the record's
	resultRowBytes = 400                                 // roughly, with its indexes
	spareRows      = 1 << 16                             // columns larger than this aren't kept
)

func newQueue(c Config, gauge func(float64)) *queue {
	return &queue{maxPending: c.MaxPendingBytes, maxFlush: min(c.MaxFlushBytes, c.MaxPendingBytes), maxRows: c.MaxFlushRows,
		linger: c.Linger, clock: c.Clock, gauge: gauge,
		wake: make(chan struct{}, 1), freed: make(chan struct{})}
}

// room waits until less than maxPending bytes are on their way.
func (q *queue) room(ctx context.Context) error {
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

// hold adds n bytes to those on their way; a negative n takes them off.
func (q *queue) hold(n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.account(n)
}

func (q *queue) account(n int64) {
	wasFull := q.pending >= q.maxPending
	q.pending += n
	q.gauge(float64(q.pending))
	if wasFull && q.pending < q.maxPending {
		close(q.freed)
		q.freed = make(chan struct{})
	}
}

// add queues a record's rows; size is what the record itself holds already. The writer isn't told until ready.
func (q *queue) add(s *shard, next, size int64, r *rows) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f := q.open()
	before := f.hashes.Len()
	for _, c := range r.claims {
		appendHashes(&f.hashes, c.Claims, c.verdicts)
	}
	added := f.hashes.Len() - before
	f.results = append(f.results, r.results...)
	f.uploads = append(f.uploads, r.uploads...)
	f.certificates = append(f.certificates, r.certificates...)
	f.events = append(f.events, r.events...)
	if r.patient {
		f.decided += added
		q.decided += added
	} else {
		f.urgent = true
	}
	f.mark(s, next, added)
	grown := int64(added)*hashRowBytes + int64(len(r.results))*resultRowBytes
	f.bytes += size + grown
	q.account(grown)
}

// mayDecide reports whether n more hashes may be told of before they are stored.
func (q *queue) mayDecide(n int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.decided+n <= maxDecided
}

// open returns the flush that takes the next rows.
func (q *queue) open() *flush {
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

func (f *flush) mark(s *shard, next int64, rows int) {
	if n := len(f.marks); n > 0 && f.marks[n-1].shard == s {
		f.marks[n-1].next = next
		f.marks[n-1].rows += rows
		f.marks[n-1].count++
		return
	}
	f.marks = append(f.marks, mark{s, next, rows, 1})
}

// ready tells the writer that there is something to take.
func (q *queue) ready() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take waits until the oldest flush is due; nil when ctx ends first.
func (q *queue) take(ctx context.Context) *flush {
	for {
		f, wait := q.due()
		if f != nil {
			return f
		}
		var later <-chan time.Time
		if wait > 0 {
			later = time.After(wait)
		}
		select {
		case <-q.wake:
		case <-later:
		case <-ctx.Done():
			return nil
		}
	}
}

// due takes the oldest flush, or says how long it lingers yet; 0 where there is none.
func (q *queue) due() (f *flush, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil, 0
	}
	f = q.waiting[0]
	wait = q.linger - q.clock().Sub(f.begun)
	if wait > 0 && !f.urgent && len(q.waiting) == 1 && q.pending < q.maxPending {
		return nil, wait
	}
	q.waiting = slices.Delete(q.waiting, 0, 1)
	return f, 0
}

// done frees a flush that was taken and is stored.
func (q *queue) done(f *flush) {
	bytes, decided := f.bytes, f.decided
	f.reset()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.account(-bytes)
	q.decided -= decided
	if q.spare == nil && cap(f.hashes.Upload) <= spareRows {
		q.spare = f
	}
}

// reset empties f and lets go of the records that it points into.
func (f *flush) reset() {
	h := &f.hashes
	clear(h.Site)
	clear(h.Algorithm)
	clear(h.Signature)
	clear(f.results)
	clear(f.uploads)
	clear(f.certificates)
	clear(f.events)
	clear(f.marks)
	*f = flush{
		hashes: store.HashRows{
			Hash: h.Hash[:0], Upload: h.Upload[:0], Position: h.Position[:0], Site: h.Site[:0], SignedAt: h.SignedAt[:0],
			Algorithm: h.Algorithm[:0], Signature: h.Signature[:0], Certificate: h.Certificate[:0],
		},
		results: f.results[:0], uploads: f.uploads[:0], certificates: f.certificates[:0], events: f.events[:0], marks: f.marks[:0],
	}
}

// rows are what one record comes to.
type rows struct {
	claims       []resolved
	results      []store.ResultRow
	uploads      []store.Upload
	certificates []store.Certificate
	events       []*recordpb.Event // that leave once the rows are stored
	patient      bool              // nobody waits for the rows to be stored
}
