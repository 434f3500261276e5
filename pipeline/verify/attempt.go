package verify

// What the stage holds of an open upload. It is a cache: an attempt that is not held, or not from its first pair, is read
// again from the log after its seal, so dropping one costs work and nothing else.
//
// Memory goes to whoever came first: an attempt that finds the budget used up is not held from then on, instead of pushing
// out another that has been verified half way. Only attempts that nobody has written to for long are pushed out.

import (
	"context"
	"sync"
	"time"

	"countersign/pipeline/certs"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// piece is a chunk and the verdicts on it.
type piece struct {
	chunk    *recordpb.Chunk
	verdicts []byte // set once done under the attempt's entry
}

func (p *piece) pairs() int { return len(p.chunk.GetHashes()) / record.HashSize }

// attempt is one attempt's cache. The partition's loop owns it until the seal, its decider then, the forwarder last;
// what mu guards is also used by the goroutine that waits for the site's certificates.
type attempt struct {
	site    string
	next    uint32 // position of the pair that is expected next
	dropped bool   // not held: read again at the seal
	bytes   int64
	touched time.Time
	pieces  []*piece
	release func(int64) // gives bytes back to the budget

	pending sync.WaitGroup // pieces without verdicts, and the wait for certificates

	mu       sync.Mutex
	resolved bool
	entry    *certs.Entry
	err      error
	waiting  []*piece
}

// complete reports whether the attempt holds all of an upload of so many pairs.
func (a *attempt) complete(count uint64) bool {
	return a != nil && !a.dropped && uint64(a.next) == count
}

// drop forgets what the attempt holds. Workers that verify a piece of it finish undisturbed.
func (a *attempt) drop() {
	a.dropped = true
	a.pieces = nil
	a.release(a.bytes)
	a.bytes = 0
	a.mu.Lock()
	a.waiting = nil
	a.mu.Unlock()
}

// size is what a piece counts against the memory limit, in bytes.
func (p *piece) size() int64 {
	c := p.chunk
	n := len(c.Hashes) + len(c.Signatures) + len(c.SignatureLengths) + len(c.Upper) + p.pairs() + 512
	for _, u := range c.Unparsed {
		n += len(u.Text) + len(u.Reason) + 64
	}
	return int64(n)
}

// add appends a piece at the expected position and reports whether it did. A repeated one changes nothing; after a gap, and where
// reserve has no room for the piece's bytes, the attempt is dropped.
func (a *attempt) add(p *piece, reserve func(bytes int64) bool) bool {
	if a.dropped || p.chunk.First < a.next {
		return false
	}
	size := p.size()
	if p.chunk.First > a.next || !reserve(size) {
		a.drop()
		return false
	}
	a.next += uint32(p.pairs())
	a.bytes += size
	a.pieces = append(a.pieces, p)
	return true
}

// resolve waits for the site's keys and has verified what waited for them.
func (s *Stage) resolve(ctx context.Context, a *attempt) {
	defer a.pending.Done()
	entry, err := s.cfg.Certs.Get(ctx, a.site)
	a.mu.Lock()
	a.resolved, a.entry, a.err = true, entry, err
	waiting := a.waiting
	a.waiting = nil
	a.mu.Unlock()
	if err != nil {
		return
	}
	for _, p := range waiting {
		s.verify(ctx, a, p, entry.Keys)
	}
}

// check has a piece verified as soon as the keys are there.
func (s *Stage) check(ctx context.Context, a *attempt, p *piece) {
	a.mu.Lock()
	if !a.resolved {
		a.waiting = append(a.waiting, p)
		a.mu.Unlock()
		return
	}
	entry := a.entry
	a.mu.Unlock()
	if entry != nil {
		s.verify(ctx, a, p, entry.Keys)
	}
}

// judge finds a piece's verdicts, on a worker.
func (s *Stage) judge(scratch *scratch, p *piece, keys []certs.Key) {
	p.verdicts = scratch.judge(p.chunk, keys)
	s.metrics.verified.Add(float64(len(p.verdicts)))
}

// verify hands a piece to the workers.
func (s *Stage) verify(ctx context.Context, a *attempt, p *piece, keys []certs.Key) {
	a.pending.Add(1)
	err := s.submit(ctx, func(scratch *scratch) {
		defer a.pending.Done()
		s.judge(scratch, p, keys)
	})
	if err != nil {
		a.pending.Done()
	}
}
