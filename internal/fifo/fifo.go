package fifo

import "sync"

// Map keeps the values of the newest keys, a fixed number of them. It is safe for concurrent use.
type Map[K comparable, V any] struct {
	mu     sync.Mutex
	values map[K]V // guarded by mu
	ring   []K     // keys in the order in which they came; guarded by mu
	oldest int     // place of the oldest in a full ring; guarded by mu
}

// New makes a map for at most so many keys, at least one. The memory of the keys' ring is taken at once.
func New[K comparable, V any](most int) *Map[K, V] {
	return &Map[K, V]{values: make(map[K]V), ring: make([]K, 0, most)}
}

// Put keeps v for k, in place of what was there. A key that is there already keeps its age.
func (m *Map[K, V]) Put(k K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.values[k]; !there {
		m.makeRoom(k)
	}
	m.values[k] = v
}

func (m *Map[K, V]) makeRoom(k K) {
	if len(m.ring) < cap(m.ring) {
		m.ring = append(m.ring, k)
		return
	}
	delete(m.values, m.ring[m.oldest])
	m.ring[m.oldest] = k
	m.oldest = (m.oldest + 1) % len(m.ring)
}

// Delete forgets k. Its place in the ring stays: if k is put again, it may leave earlier than its age says.
func (m *Map[K, V]) Delete(k K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, k)
}

// Get returns what is kept for k.
func (m *Map[K, V]) Get(k K) (v V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok = m.values[k]
	return v, ok
}
