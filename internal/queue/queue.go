package queue

import (
	"slices"
	"sync"
)

// Queue is a list in the order of its Puts. It has no bound of its own: who uses one says what bounds it, or puts with
// PutWithin. Put and PutWithin may be called by any number of goroutines; Ready, Take and PutBack belong to the one
// that empties it.
type Queue[T any] struct {
	ready chan struct{} // capacity 1; never closed

	mu    sync.Mutex
	items []T // guarded by mu
}

// New makes an empty queue.
func New[T any]() *Queue[T] {
	return &Queue[T]{ready: make(chan struct{}, 1)}
}

// Ready has a value when items may have come since the last receive. It may also have one when there are none.
func (q *Queue[T]) Ready() <-chan struct{} { return q.ready }

// Put appends items.
func (q *Queue[T]) Put(items ...T) {
	if len(items) == 0 {
		return
	}
	q.mu.Lock()
	q.items = append(q.items, items...)
	q.mu.Unlock()
	q.signal()
}

// PutWithin appends items unless the queue would then hold more than most, and reports whether it did. It appends all
// or none.
func (q *Queue[T]) PutWithin(most int, items ...T) bool {
	q.mu.Lock()
	fits := len(q.items)+len(items) <= most
	if fits {
		q.items = append(q.items, items...)
	}
	q.mu.Unlock()
	if fits && len(items) > 0 {
		q.signal()
	}
	return fits
}

// PutBack prepends items that were taken, in their order, and makes the queue ready.
func (q *Queue[T]) PutBack(items ...T) {
	if len(items) == 0 {
		return
	}
	q.mu.Lock()
	q.items = append(slices.Clip(items), q.items...)
	q.mu.Unlock()
	q.signal()
}

func (q *Queue[T]) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// Take removes and returns all items, oldest first; nil when there are none.
func (q *Queue[T]) Take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items = nil
	return items
}

// TakeWhile appends to dst the longest prefix of the queue whose items all satisfy more, removes it, and returns dst.
// The first item is taken whatever more says, so that no item can block the queue. The queue is made ready again if
// items are left.
func (q *Queue[T]) TakeWhile(dst []T, more func(T) bool) []T {
	q.mu.Lock()
	n := 0
	for n < len(q.items) && (more(q.items[n]) || n == 0) {
		n++
	}
	dst = append(dst, q.items[:n]...)
	rest := copy(q.items, q.items[n:])
	clear(q.items[rest:]) // let go of what was taken
	q.items = q.items[:rest]
	q.mu.Unlock()
	if rest > 0 {
		q.signal()
	}
	return dst
}

// Len is how many items wait.
func (q *Queue[T]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}
