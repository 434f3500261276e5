package verify

// Small containers of a partition: the forwarder's queue, and the decisions of late.

import (
	"bytes"
	"slices"
	"sync"

	"github.com/google/uuid"

	"countersign/pipeline/certs"
)

// queue holds decided uploads for the forwarder. Its length is bounded by the open seals in the log, which ingest bounds by the
// backlog limit: an upload here is a few hundred bytes beside what the memory budget counts.
type queue struct {
	mu    sync.Mutex
	items []*upload
	ready chan struct{} // capacity 1: there may be items
}

func newQueue() *queue { return &queue{ready: make(chan struct{}, 1)} }

func (q *queue) put(u *upload) {
	q.mu.Lock()
	q.items = append(q.items, u)
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take empties the queue.
func (q *queue) take() []*upload {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items = nil
	return items
}

// recentDecisions remembers the last so many decisions that were read, oldest out first.
type recentDecisions struct {
	byUpload map[uuid.UUID]*decision
	ring     []uuid.UUID
	at       int
	chains   map[[32]byte]certs.Chain // by leaf
}

const maxShared = 256 // chains

func newRecentDecisions(n int) *recentDecisions {
	return &recentDecisions{byUpload: make(map[uuid.UUID]*decision), ring: make([]uuid.UUID, n)}
}

func (r *recentDecisions) get(id uuid.UUID) *decision { return r.byUpload[id] }

func (r *recentDecisions) put(id uuid.UUID, d *decision) {
	delete(r.byUpload, r.ring[r.at])
	r.ring[r.at] = id
	r.at = (r.at + 1) % len(r.ring)
	r.byUpload[id] = d
}

// share returns the chain that earlier decisions hold, where it equals c: every record of decisions brings its own copy of
// kilobytes, and most are of the same few sites. Past maxShared leaves it starts afresh.
func (r *recentDecisions) share(c certs.Chain) certs.Chain {
	leaf := c.Fingerprint()
	if held, ok := r.chains[leaf]; ok && slices.EqualFunc(held.Certificates, c.Certificates, bytes.Equal) {
		return held
	}
	if r.chains == nil || len(r.chains) >= maxShared {
		r.chains = make(map[[32]byte]certs.Chain)
	}
	r.chains[leaf] = c
	return c
}
