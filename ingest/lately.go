package ingest

import "sync"

// lately keeps the values that were put last, a fixed number of them, oldest out first.
type lately[K comparable, V any] struct {
	mu     sync.Mutex
	values map[K]V // guarded by mu
	ring   []K     // guarded by mu
	oldest int     // place in the ring, once that is full; guarded by mu
}

func newLately[K comparable, V any](most int) *lately[K, V] {
	return &lately[K, V]{values: make(map[K]V), ring: make([]K, 0, most)}
}

// put keeps v for k. A key that is there keeps its age.
func (l *lately[K, V]) put(k K, v V) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, there := l.values[k]; !there {
		l.makeRoom(k)
	}
	l.values[k] = v
}

func (l *lately[K, V]) makeRoom(k K) {
	if len(l.ring) < cap(l.ring) {
		l.ring = append(l.ring, k)
		return
	}
	delete(l.values, l.ring[l.oldest])
	l.ring[l.oldest] = k
	l.oldest = (l.oldest + 1) % len(l.ring)
}

// drop forgets k. Its place in the ring stays: put again, it may leave early.
func (l *lately[K, V]) drop(k K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.values, k)
}

func (l *lately[K, V]) get(k K) (v V, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok = l.values[k]
	return v, ok
}
