package verify

// How far a partition is done. Seals are done out of order, and Kafka keeps one number, below which everything must be
// done. So the offset to commit is that of the oldest seal that is still open, or of the next record where none is
// open.

import (
	"cmp"
	"slices"
	"sync"
)

// progress is shared by the reader, which opens seals, and the forwarder, which finishes them.
type progress struct {
	mu     sync.Mutex
	opened []openRecord // from the oldest that is open, by offset; guarded by mu
	next   int64        // after the last record read; guarded by mu
}

type openRecord struct {
	offset int64
	done   bool
}

func newProgress(start int64) *progress { return &progress{next: start} }

// pass notes a record that needs nothing further.
func (p *progress) pass(offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = offset + 1
}

// open notes a record that must be finished.
func (p *progress) open(offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = offset + 1
	p.opened = append(p.opened, openRecord{offset: offset})
}

// finish notes that the record at an offset that was opened is done.
func (p *progress) finish(offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, _ := slices.BinarySearchFunc(p.opened, offset, func(r openRecord, offset int64) int {
		return cmp.Compare(r.offset, offset)
	})
	p.opened[i].done = true
	n := 0
	for n < len(p.opened) && p.opened[n].done {
		n++
	}
	p.opened = p.opened[n:]
}

// committable returns the offset to commit: everything below it is done.
func (p *progress) committable() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.opened) > 0 {
		return p.opened[0].offset
	}
	return p.next
}
