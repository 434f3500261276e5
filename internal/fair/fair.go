// Package fair orders work so that those who ask for much don't delay those who ask for little.
//
// Every piece of work has a cost and is charged to one or more accounts: the site that it is for, the client that sent
// it. Work is done in the order of virtual start times, as in start-time fair queueing (Goyal, Vin, Cheng 1996): a
// piece starts when the last piece of each of its accounts has virtually ended, and never before the present. So
// accounts that have work waiting get equal shares of what is done, measured in cost; an account that comes after a
// pause is next, whatever waits; and one account alone gets everything, because nothing is held back for others. The
// present moves on with the work that is done, as in weighted fair queueing, so that a stream of ever new accounts
// doesn't hold up the old ones for ever.
//
// A piece is never interrupted. Who puts pieces in keeps each of them short: an account waits at most for one piece of
// each other one.
//
// It must not know any other package of this module.
package fair

import (
	"container/heap"
	"context"
	"sync"
)

// Queue holds work that waits. It is safe for concurrent use. It has no bound of its own: who uses one says what bounds
// it. The zero Queue is not usable; New makes one.
type Queue[K comparable, T any] struct {
	mostRunning int // of one account at once; 0: no limit

	mu      sync.Mutex
	changed *sync.Cond          // there may be work to take; its lock is mu
	now     float64             // virtual time
	ends    map[K]float64       // virtual end of an account's last piece, where that lies ahead
	active  map[K]int           // pieces of an account that wait or run
	running map[K]int           // pieces of an account that were taken and are not done
	waiting pieces[K, T]        // a heap by start
	blocked map[K]*pieces[K, T] // heaps by start of pieces whose account has as many running as it may
	numbers uint64              // Puts so far
	sweep   int                 // Puts since the ends were looked through
}

type piece[K comparable, T any] struct {
	start    float64
	cost     float64
	number   uint64 // of its Put: pieces with one start are taken in their order
	accounts []K
	work     T
}

// New makes an empty queue. No account has more than mostRunning pieces taken and not done; 0 means that any number may
// be.
func New[K comparable, T any](mostRunning int) *Queue[K, T] {
	q := &Queue[K, T]{
		mostRunning: mostRunning,
		ends:        make(map[K]float64),
		active:      make(map[K]int),
		running:     make(map[K]int),
		blocked:     make(map[K]*pieces[K, T]),
	}
	q.changed = sync.NewCond(&q.mu)
	return q
}

// Put adds work of a cost, in any unit but the same for all, and at least 1, to be charged to accounts. Put doesn't
// wait.
func (q *Queue[K, T]) Put(work T, cost int64, accounts ...K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.numbers++
	q.sweep++
	p := &piece[K, T]{start: q.now, cost: max(float64(cost), 1), number: q.numbers, accounts: accounts, work: work}
	for _, a := range accounts {
		p.start = max(p.start, q.ends[a])
	}
	for _, a := range accounts {
		q.ends[a] = p.start + p.cost
		q.active[a]++
	}
	heap.Push(&q.waiting, p)
	q.changed.Signal()
}

// Take removes the work whose turn it is, and waits while there is none. done must be called once, when the work is
// done. The error is ctx's, when that ends first.
func (q *Queue[K, T]) Take(ctx context.Context) (work T, done func(), err error) {
	stop := context.AfterFunc(ctx, func() {
		q.mu.Lock() // so that nobody is between looking at ctx and waiting
		defer q.mu.Unlock()
		q.changed.Broadcast()
	})
	defer stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			q.changed.Signal() // hand on what may have been meant for this caller
			return work, nil, err
		}
		if p := q.next(); p != nil {
			q.now = max(q.now, p.start)
			q.forgetPast()
			for _, a := range p.accounts {
				q.running[a]++
			}
			return p.work, sync.OnceFunc(func() { q.finish(p) }), nil
		}
		q.changed.Wait()
	}
}

// next removes the first piece that may run, and sets those aside that may not yet. A piece that is set aside for one
// account leaves the room that its other accounts have to the next pieces of those.
func (q *Queue[K, T]) next() *piece[K, T] {
	for len(q.waiting) > 0 {
		p := heap.Pop(&q.waiting).(*piece[K, T])
		full, is := q.fullAccount(p)
		if !is {
			return p
		}
		if q.blocked[full] == nil {
			q.blocked[full] = new(pieces[K, T])
		}
		heap.Push(q.blocked[full], p)
		for _, a := range p.accounts {
			q.release(a)
		}
	}
	return nil
}

// release lets the first piece that was set aside for an account wait again, where the account may have one more
// running, and reports whether there was one.
func (q *Queue[K, T]) release(a K) bool {
	set := q.blocked[a]
	if set == nil || q.running[a] >= q.mostRunning {
		return false
	}
	heap.Push(&q.waiting, heap.Pop(set).(*piece[K, T]))
	if set.Len() == 0 {
		delete(q.blocked, a)
	}
	return true
}

func (q *Queue[K, T]) fullAccount(p *piece[K, T]) (account K, is bool) {
	if q.mostRunning > 0 {
		for _, a := range p.accounts {
			if q.running[a] >= q.mostRunning {
				return a, true
			}
		}
	}
	return account, false
}

func (q *Queue[K, T]) finish(p *piece[K, T]) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.now += p.cost / float64(max(1, len(q.active)))
	for _, a := range p.accounts {
		countDown(q.active, a)
		countDown(q.running, a)
		if q.release(a) {
			q.changed.Signal()
		}
	}
	if len(q.waiting) == 0 && len(q.active) == 0 {
		clear(q.ends) // nobody waits: the next one starts with a clean sheet
	}
}

func countDown[K comparable](counts map[K]int, a K) {
	if counts[a]--; counts[a] == 0 {
		delete(counts, a)
	}
}

// forgetPast forgets the ends that lie in the past, which say nothing any more. It looks at all ends, and so only after
// about half as many Puts as there are ends.
func (q *Queue[K, T]) forgetPast() {
	if q.sweep < len(q.ends)/2+64 {
		return
	}
	q.sweep = 0
	for a, end := range q.ends {
		if end <= q.now {
			delete(q.ends, a)
		}
	}
}

// Len is how much work waits, pieces that were taken not counted.
func (q *Queue[K, T]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.waiting)
	for _, set := range q.blocked {
		n += set.Len()
	}
	return n
}

// pieces is a heap by start.
type pieces[K comparable, T any] []*piece[K, T]

func (h pieces[K, T]) Len() int      { return len(h) }
func (h pieces[K, T]) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h pieces[K, T]) Less(i, j int) bool {
	if h[i].start != h[j].start {
		return h[i].start < h[j].start
	}
	return h[i].number < h[j].number
}
func (h *pieces[K, T]) Push(p any) { *h = append(*h, p.(*piece[K, T])) }
func (h *pieces[K, T]) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
