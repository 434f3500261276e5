package verify

// How far a partition is done. Seals are done out of order, and Kafka keeps one number, below which everything must be
// done. So the offset to commit is that of the oldest seal that is still open, or of the next record where none is
// open. How many records beyond it are done is told beside it, so that one upload that takes long doesn't make
// everything behind it look like backlog.

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
	undone int64        // records of the open seals; guarded by mu
}

type openRecord struct {
	offset  int64
	records int64 // the seal and its chunks, as far as they were read
	done    bool
}

func newProgress(start int64) *progress { return &progress{next: start} }

// pass notes a record that needs nothing further.
func (p *progress) pass(offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = offset + 1
}

// open notes a record that must be finished, and so many chunks that were passed for it.
func (p *progress) open(offset, chunks int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = offset + 1
	p.opened = append(p.opened, openRecord{offset: offset, records: 1 + chunks})
	p.undone += 1 + chunks
}

// finish notes that the record at an offset that was opened is done.
func (p *progress) finish(offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, _ := slices.BinarySearchFunc(p.opened, offset, func(r openRecord, offset int64) int {
		return cmp.Compare(r.offset, offset)
	})
	p.opened[i].done = true
	p.undone -= p.opened[i].records
	n := 0
	for n < len(p.opened) && p.opened[n].done {
		n++
	}
	p.opened = p.opened[n:]
}

// committable returns the offset to commit, below which everything is done, and how many records at or beyond it are
// done. Chunks of uploads that are not sealed yet count as done: nothing can be done for them.
func (p *progress) committable() (next, done int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.opened) == 0 {
		return p.next, 0
	}
	next = p.opened[0].offset
	return next, max(0, p.next-next-p.undone)
}
