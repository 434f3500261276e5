// Package coalesce turns many questions about single keys into few questions about many keys. A store's answer costs
// about the same for one key as for a thousand, so questions that wait while others are being answered are asked
// together.
//
// It must not know any other package of this module.
package coalesce

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrFull is the error of a question that finds as many waiting as may wait: the caller should say so to whoever asks,
// who may ask again in a second.
var ErrFull = errors.New("too many questions are waiting for an answer")

// Config says how questions are asked. All fields are required but the last one.
type Config[K comparable, V any] struct {
	// Ask answers for all of keys, which are distinct: a key that isn't in the result has no value. It is called by up
	// to MaxConcurrent goroutines at once, and keeps nothing of keys. ctx ends after Timeout, and not when a caller
	// gives up.
	Ask func(ctx context.Context, keys []K) (map[K]V, error)
	// MaxKeys is how many keys one call of Ask gets at most.
	MaxKeys int
	// MaxConcurrent is how many calls of Ask are under way at most.
	MaxConcurrent int
	// MaxWaiting is how many callers of Get may wait at once.
	MaxWaiting int
	// Timeout bounds a call of Ask.
	Timeout time.Duration
	// Spacing is how far apart calls of Ask begin while many questions come: after a call with more than few keys. A call
	// costs about the same for many keys as for one, so a flood of questions costs as many calls a second as it says, and
	// a question of anybody waits so much longer at most. 0: calls begin as soon as they may.
	Spacing time.Duration
}

// few is how many keys a call may have without being followed by a pause.
const few = 8

// Group asks questions together. It is safe for concurrent use. The zero Group is not usable; New makes one.
type Group[K comparable, V any] struct {
	cfg    Config[K, V]
	open   context.Context // ends with Close
	close  context.CancelFunc
	askers sync.WaitGroup // goroutines that call Ask

	mu      sync.Mutex
	pending map[K]*question[V] // not asked yet; guarded by mu
	order   []K                // of pending, oldest first; guarded by mu
	asking  int                // calls of Ask under way; guarded by mu
	waiting int                // callers of Get; guarded by mu
	next    time.Time          // when the next call may begin; guarded by mu
}

// question is one key that callers wait for. Its answer may be read once done is closed.
type question[V any] struct {
	done  chan struct{}
	value V
	found bool
	err   error
}

// New makes a group.
func New[K comparable, V any](cfg Config[K, V]) *Group[K, V] {
	g := &Group[K, V]{cfg: cfg, pending: make(map[K]*question[V])}
	g.open, g.close = context.WithCancel(context.Background())
	return g
}

// Close ends the calls of Ask that are under way, and returns when they have returned. It is called after the last Get.
func (g *Group[K, V]) Close() {
	g.close()
	g.askers.Wait()
}

// Get returns key's value, and whether it has one. The answer is from a call of Ask that began after Get was called.
// The error is Ask's, [ErrFull], or ctx's where that ends first.
func (g *Group[K, V]) Get(ctx context.Context, key K) (value V, found bool, err error) {
	q, err := g.join(key)
	if err != nil {
		return value, false, err
	}
	defer g.leave()
	select {
	case <-q.done:
		return q.value, q.found, q.err
	case <-ctx.Done():
		return value, false, ctx.Err()
	}
}

// Waiting is how many callers wait for an answer now.
func (g *Group[K, V]) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting
}

// join finds or makes the question, and has somebody ask it.
func (g *Group[K, V]) join(key K) (*question[V], error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.waiting >= g.cfg.MaxWaiting {
		return nil, ErrFull
	}
	g.waiting++
	q := g.pending[key]
	if q == nil {
		q = &question[V]{done: make(chan struct{})}
		g.pending[key] = q
		g.order = append(g.order, key)
	}
	if g.asking < g.cfg.MaxConcurrent {
		g.asking++
		g.askers.Go(g.ask)
	}
	return q, nil
}

func (g *Group[K, V]) leave() {
	g.mu.Lock()
	g.waiting--
	g.mu.Unlock()
}

// ask asks until no question is left.
func (g *Group[K, V]) ask() {
	for {
		if !g.pause() {
			return
		}
		keys, questions := g.oldest()
		if len(keys) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(g.open, g.cfg.Timeout)
		values, err := g.cfg.Ask(ctx, keys)
		cancel()
		for i, q := range questions {
			q.value, q.found = values[keys[i]]
			q.err = err
			close(q.done)
		}
	}
}

// pause waits until a call may begin. It returns false, and gives the right to ask back, where the group is closed
// first.
func (g *Group[K, V]) pause() bool {
	g.mu.Lock()
	wait := time.Until(g.next)
	if wait > 0 {
		g.next = g.next.Add(g.cfg.Spacing) // for whoever comes after this one
	}
	g.mu.Unlock()
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-g.open.Done():
		g.mu.Lock()
		g.asking--
		g.mu.Unlock()
		return false
	}
}

// oldest takes the oldest questions, or gives the right to ask back where there are none.
func (g *Group[K, V]) oldest() (keys []K, questions []*question[V]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.order), g.cfg.MaxKeys)
	if n == 0 {
		g.asking--
		return nil, nil
	}
	if n > few && g.cfg.Spacing > 0 {
		g.next = later(g.next, time.Now().Add(g.cfg.Spacing))
	}
	keys = append(keys, g.order[:n]...)
	for _, k := range keys {
		questions = append(questions, g.pending[k])
		delete(g.pending, k)
	}
	if g.order = g.order[n:]; len(g.order) == 0 {
		g.order = nil // gives the memory back
	}
	return keys, questions
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
