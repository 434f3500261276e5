package verify

// How far a partition is done. Seals are done out of order, and Kafka keeps one number, below which everything must be done:
// so the offset to commit is that of the oldest seal still open, or of the next record where none is.

import "sync"

type progress struct {
	mu   sync.Mutex
	open []openRecord // ascending offsets
	next int64        // after the last record seen
}

type openRecord struct {
	offset int64
	done   bool
}

// see notes a record; open says that it must be finished before the partition is done with it.
func (p *progress) see(offset int64, open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = offset + 1
	if open {
		p.open = append(p.open, openRecord{offset: offset})
	}
}

// finish notes that an open record is done.
func (p *progress) finish(offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	lo, hi := 0, len(p.open)
	for lo < hi {
		if mid := (lo + hi) / 2; p.open[mid].offset < offset {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	p.open[lo].done = true
	n := 0
	for n < len(p.open) && p.open[n].done {
		n++
	}
	p.open = p.open[n:]
}

// prefix returns the offset to commit: everything below it is done.
func (p *progress) prefix() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open) > 0 {
		return p.open[0].offset
	}
	return p.next
}
