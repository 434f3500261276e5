// Package fair orders work so that those who ask for much don't delay those who ask for little.
//
// Every piece of work has a cost and is charged to one or more accounts: the site that it is for, the client that sent
// it. Pieces of the same accounts form a line. The next piece is the first one of the line whose accounts had least: of
// each line the account counts that had most. So accounts that have work waiting get equal shares of what is done,
// measured in cost; an account that comes after a pause is next, whatever waits; and one account alone gets everything,
// because nothing is held back for others.
//
// What an account had is counted in virtual time, as in start-time fair queueing (Goyal, Vin, Cheng 1996): its end is
// the virtual end of its last piece that was taken, and never lies before the moment at which the account began to
// wait. The present moves on with the work that is done, as in weighted fair queueing, so that a stream of ever new
// accounts doesn't hold up the old ones for ever.
//
// A queue may give credit: what an account's end lies behind the present after a pause, up to a bound. Who asks for less
// than an equal share, from time to time, is then served at once however many others always have work waiting, and
// those wait at most for one credit of each account that paused.
//
// A piece is charged when it is taken and not when it is put. So work that only waits holds up nobody: where one client
// has put ten thousand pieces for a site, and another one puts its first piece for the same site, that piece is the
// next one of the site. The lines of one account come in turn, each a piece at a time.
//
// A piece is never interrupted. Who puts pieces in keeps each of them short: a line waits at most for one piece of each
// other account, and for one of each other line of its own accounts.
//
// It must not know any other package of this module.
package fair

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
)

// MaxAccounts is how many accounts one piece of work may be charged to.
const MaxAccounts = 3

// Queue holds work that waits. It is safe for concurrent use. It has no bound of its own: who uses one says what bounds
// it. The zero Queue is not usable; New makes one.
type Queue[K comparable, T any] struct {
	mostRunning int     // of one account at once; 0: no limit
	credit      float64 // in cost

	mu       sync.Mutex
	changed  *sync.Cond           // there may be work to take; its lock is mu
	now      float64              // virtual time
	accounts map[K]*account[K, T] // those that have work, and those whose end lies ahead
	lines    map[names[K]]*line[K, T]
	ready    accountHeap[K, T] // accounts that lines are filed under
	active   int               // accounts of which a piece waits or runs
	waiting  int               // pieces
	numbers  uint64            // Puts so far
	sweep    int               // Puts since the accounts were looked through
}

// names are the accounts of a line.
type names[K comparable] struct {
	n    int
	list [MaxAccounts]K
}

// account is whom pieces are charged to.
type account[K comparable, T any] struct {
	end              float64        // virtual end of its last piece that was taken
	waiting, running int            // pieces
	filed            lineHeap[K, T] // lines of which no other account had more when they were filed
	aside            lineHeap[K, T] // lines that wait until fewer pieces of the account run
	index            int            // in Queue.ready; -1: no line is filed here
}

// line is pieces of the same accounts, first in, first out.
type line[K comparable, T any] struct {
	names    names[K]
	accounts []*account[K, T]
	pieces   []piece[T]
	end      float64 // virtual end of its last piece that was taken
	// other is the latest end among its other accounts and its own, as it was when the line was filed or set aside.
	// Ends only grow, so it is too small at worst, and then the line is filed again before a piece of it is taken.
	other float64
}

type piece[T any] struct {
	cost   float64
	number uint64 // of its Put
	work   T
}

// New makes an empty queue. No account has more than mostRunning pieces taken and not done; 0 means that any number may
// be. An account that comes after a pause may have so much of credit, in units of cost, before the others are next.
func New[K comparable, T any](mostRunning int, credit int64) *Queue[K, T] {
	q := &Queue[K, T]{
		mostRunning: mostRunning,
		credit:      float64(credit),
		accounts:    make(map[K]*account[K, T]),
		lines:       make(map[names[K]]*line[K, T]),
	}
	q.changed = sync.NewCond(&q.mu)
	return q
}

// Put adds work of a cost, in any unit but the same for all, and at least 1, to be charged to accounts: one at least,
// and MaxAccounts at most, which are distinct and always in the same order. Put doesn't wait.
func (q *Queue[K, T]) Put(work T, cost int64, accounts ...K) {
	if len(accounts) < 1 || len(accounts) > MaxAccounts {
		panic(fmt.Sprintf("fair: work is charged to %d accounts", len(accounts)))
	}
	key := names[K]{n: len(accounts)}
	copy(key.list[:], accounts)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.numbers++
	q.sweep++
	q.waiting++
	l := q.lines[key]
	if l == nil {
		l = q.newLine(key)
	}
	for _, a := range l.accounts {
		if a.waiting == 0 {
			a.end = max(a.end, q.now-q.credit) // a longer pause earns no more
		}
		if a.waiting+a.running == 0 {
			q.active++
		}
		a.waiting++
	}
	l.pieces = append(l.pieces, piece[T]{cost: max(float64(cost), 1), number: q.numbers, work: work})
	if len(l.pieces) == 1 {
		q.file(l)
	}
	q.changed.Signal()
}

// newLine makes a line, to which a piece must be added.
func (q *Queue[K, T]) newLine(key names[K]) *line[K, T] {
	l := &line[K, T]{names: key, end: q.now - q.credit}
	for _, name := range key.list[:key.n] {
		a := q.accounts[name]
		if a == nil {
			a = &account[K, T]{end: q.now - q.credit, index: -1}
			q.accounts[name] = a
		}
		l.accounts = append(l.accounts, a)
	}
	q.lines[key] = l
	return l
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
		if l := q.next(); l != nil {
			p := q.charge(l)
			return p.work, sync.OnceFunc(func() { q.finish(l.accounts, p.cost) }), nil
		}
		q.changed.Wait()
	}
}

// file puts a line where it is found when its turn comes: under the account that had most.
func (q *Queue[K, T]) file(l *line[K, T]) {
	home := l.home()
	l.other = l.otherThan(home)
	heap.Push(&home.filed, l)
	q.fix(home)
}

// home is the account of a line that had most.
func (l *line[K, T]) home() *account[K, T] {
	home := l.accounts[0]
	for _, a := range l.accounts[1:] {
		if a.end > home.end {
			home = a
		}
	}
	return home
}

// otherThan is the latest end among a line's accounts but one, and its own.
func (l *line[K, T]) otherThan(but *account[K, T]) float64 {
	other := l.end
	for _, a := range l.accounts {
		if a != but {
			other = max(other, a.end)
		}
	}
	return other
}

// fix puts an account into its place among the others.
func (q *Queue[K, T]) fix(a *account[K, T]) {
	switch {
	case len(a.filed) == 0 && a.index >= 0:
		heap.Remove(&q.ready, a.index)
	case len(a.filed) == 0:
	case a.index < 0:
		heap.Push(&q.ready, a)
	default:
		heap.Fix(&q.ready, a.index)
	}
}

// next removes the line whose turn it is from where it is filed, and sets those aside that may not run yet. A line that
// is set aside for one account leaves the room that its other accounts have to the next lines of those.
func (q *Queue[K, T]) next() *line[K, T] {
	for len(q.ready) > 0 {
		home := q.ready[0]
		l := heap.Pop(&home.filed).(*line[K, T])
		q.fix(home)
		if l.home() != home || l.otherThan(home) > l.other {
			q.file(l) // its accounts had something since
			continue
		}
		full := q.fullAccount(l)
		if full == nil {
			return l
		}
		l.other = l.otherThan(full)
		heap.Push(&full.aside, l)
		for _, a := range l.accounts {
			q.release(a)
		}
	}
	return nil
}

// charge takes the first piece of a line that next gave.
func (q *Queue[K, T]) charge(l *line[K, T]) piece[T] {
	p := l.pieces[0]
	l.pieces[0] = piece[T]{}
	l.pieces = l.pieces[1:]
	start := l.home().end
	q.now = max(q.now, start)
	q.waiting--
	l.end = start + p.cost
	for _, a := range l.accounts {
		a.end = start + p.cost
		a.waiting--
		a.running++
		q.fix(a)
	}
	if len(l.pieces) > 0 {
		q.file(l)
	} else {
		delete(q.lines, l.names)
	}
	q.forgetPast()
	return p
}

// release files the first line that was set aside for an account again, where the account may have one more running,
// and reports whether there was one.
func (q *Queue[K, T]) release(a *account[K, T]) bool {
	if len(a.aside) == 0 || a.running >= q.mostRunning {
		return false
	}
	for {
		l := heap.Pop(&a.aside).(*line[K, T])
		if other := l.otherThan(a); other > l.other { // its other accounts had something since
			l.other = other
			heap.Push(&a.aside, l)
			continue
		}
		q.file(l)
		return true
	}
}

// fullAccount is an account of a line of which as many pieces run as may; nil: there is none.
func (q *Queue[K, T]) fullAccount(l *line[K, T]) *account[K, T] {
	if q.mostRunning > 0 {
		for _, a := range l.accounts {
			if a.running >= q.mostRunning {
				return a
			}
		}
	}
	return nil
}

func (q *Queue[K, T]) finish(accounts []*account[K, T], cost float64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	advance := cost / float64(max(1, q.active))
	if q.credit > 0 && len(q.ready) > 0 && q.ready[0].end < q.now {
		advance /= 2 // so that those who wait use up the credit that they came with
	}
	q.now += advance
	for _, a := range accounts {
		a.running--
		if a.waiting+a.running == 0 {
			q.active--
		}
		if q.release(a) {
			q.changed.Signal()
		}
	}
	if q.active == 0 {
		clear(q.accounts) // nobody waits: the next one starts with a clean sheet
	}
}

// forgetPast forgets accounts that have no work and whose end lies in the past by more than the credit, which says
// nothing any more. It looks at all accounts, and so only after about half as many Puts as there are accounts.
func (q *Queue[K, T]) forgetPast() {
	if q.sweep < len(q.accounts)/2+64 {
		return
	}
	q.sweep = 0
	for name, a := range q.accounts {
		if a.waiting+a.running == 0 && a.end <= q.now-q.credit {
			delete(q.accounts, name)
		}
	}
}

// Len is how much work waits, pieces that were taken not counted.
func (q *Queue[K, T]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting
}
