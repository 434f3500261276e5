// Package coalesce turns many questions about single keys into few questions about many keys. A store's answer costs
// about the same for one key as for a thousand, so questions that wait while others are being answered are asked
// together. Where they are more than one call takes, those who ask have turns.
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
	// MaxWaiting is how many callers of Get may wait at once. Beyond, an account of which nobody waits may have one
	// more.
	MaxWaiting int
	// Timeout bounds a call of Ask.
	Timeout time.Duration
	// Spacing is how far apart calls of Ask begin while more than few callers wait. A call costs about the same for
	// many keys as for one, so a flood of questions costs as many calls a second as it says, and a question of anybody
	// waits so much longer at most. 0: calls begin as soon as they may.
	Spacing time.Duration
}

// few is how many callers may wait without calls being spaced.
const few = 8

// Group asks questions together. It is safe for concurrent use. The zero Group is not usable; New makes one.
type Group[K comparable, V any] struct {
	cfg    Config[K, V]
	open   context.Context // ends with Close
	close  context.CancelFunc
	askers sync.WaitGroup // goroutines that call Ask

	mu      sync.Mutex
	pending map[K]*question[K, V]  // not asked yet; guarded by mu
	lines   map[string]*line[K, V] // of accounts of which somebody waits; guarded by mu
	turns   []*line[K, V]          // lines that have questions, that of the next turn first; guarded by mu
	asking  int                    // calls of Ask under way; guarded by mu
	waiting int                    // callers of Get; guarded by mu
	next    time.Time              // when the next call may begin; guarded by mu
}

// line is the questions of one account. It is guarded by the group's mu.
type line[K comparable, V any] struct {
	questions []*question[K, V] // oldest first; some may have been asked for another account
	waiting   int               // callers of Get
}

// question is one key that callers wait for. Its answer may be read once done is closed.
type question[K comparable, V any] struct {
	key   K
	asked bool // guarded by the group's mu
	done  chan struct{}
	value V
	found bool
	err   error
}

// New makes a group.
func New[K comparable, V any](cfg Config[K, V]) *Group[K, V] {
	g := &Group[K, V]{cfg: cfg, pending: make(map[K]*question[K, V]), lines: make(map[string]*line[K, V])}
	g.open, g.close = context.WithCancel(context.Background())
	return g
}

// Close ends the calls of Ask that are under way, and returns when they have returned. It is called after the last Get.
func (g *Group[K, V]) Close() {
	g.close()
	g.askers.Wait()
}

// Get returns key's value, and whether it has one. account stands for who asks: where not all can be asked at once,
// accounts have turns. The answer is from a call of Ask that began after Get was called.
// The error is Ask's, [ErrFull], or ctx's where that ends first.
func (g *Group[K, V]) Get(ctx context.Context, account string, key K) (value V, found bool, err error) {
	q, err := g.join(account, key)
	if err != nil {
		return value, false, err
	}
	defer g.leave(account)
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
func (g *Group[K, V]) join(account string, key K) (*question[K, V], error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lines[account]
	if g.waiting >= g.cfg.MaxWaiting && l != nil {
		return nil, ErrFull
	}
	if l == nil {
		l = new(line[K, V])
		g.lines[account] = l
	}
	g.waiting++
	l.waiting++
	q := g.pending[key]
	if q == nil {
		q = &question[K, V]{key: key, done: make(chan struct{})}
		g.pending[key] = q
	}
	if len(l.questions) == 0 {
		g.turns = append(g.turns, l)
	}
	l.questions = append(l.questions, q)
	if g.asking < g.cfg.MaxConcurrent {
		g.asking++
		g.askers.Go(g.ask)
	}
	return q, nil
}

func (g *Group[K, V]) leave(account string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting--
	l := g.lines[account]
	if l.waiting--; l.waiting == 0 {
		delete(g.lines, account) // questions that it leaves have their turns all the same
	}
}

// ask asks until no question is left.
func (g *Group[K, V]) ask() {
	for {
		if !g.pause() {
			return
		}
		keys, questions := g.take()
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

// take takes as many questions as a call may have, one of each account in turn, or gives the right to ask back where
// there are none.
func (g *Group[K, V]) take() (keys []K, questions []*question[K, V]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.turns) > 0 && len(keys) < g.cfg.MaxKeys {
		l := g.turns[0]
		q := l.questions[0]
		l.questions[0] = nil
		l.questions = l.questions[1:]
		g.turns[0] = nil
		g.turns = g.turns[1:]
		if len(l.questions) > 0 {
			g.turns = append(g.turns, l)
		}
		if q.asked {
			continue
		}
		q.asked = true
		keys, questions = append(keys, q.key), append(questions, q)
		delete(g.pending, q.key)
	}
	switch {
	case len(keys) == 0:
		g.asking--
	case g.waiting > few && g.cfg.Spacing > 0:
		g.next = later(g.next, time.Now().Add(g.cfg.Spacing))
	}
	return keys, questions
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
