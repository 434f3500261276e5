package verify

// What the stage holds of an open upload. It is a cache: an attempt that is not held, or not from its first pair, is
// read again from the log after its seal. So dropping an attempt costs work and nothing else.
//
// Memory goes to the attempts that came first. An attempt that finds the limit reached is not held from then on.
// Pushing out another one in its place would lose what was verified of that one. Only attempts that nobody has written
// to for long are pushed out.

import (
	"context"
	"sync"
	"time"

	"countersign/pipeline/certs"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// piece is a chunk and the verdicts on its pairs.
type piece struct {
	chunk    *recordpb.Chunk
	verdicts []byte // see worker.go; set by the worker that verifies the piece
}

func (p *piece) pairs() int { return len(p.chunk.GetHashes()) / record.HashSize }

// size is what a piece counts against the memory limit, in bytes.
func (p *piece) size() int64 {
	c := p.chunk
	n := len(c.Hashes) + len(c.Signatures) + len(c.SignatureLengths) + len(c.Upper) + p.pairs() + 512
	for _, u := range c.Unparsed {
		n += len(u.Text) + len(u.Reason) + 64
	}
	return int64(n)
}

// attempt is what is held of one attempt at an upload.
type attempt struct {
	// These belong to the reader until the seal, then to the upload's decider, then to the forwarder.
	site    string
	next    uint32 // position of the pair that is expected next
	dropped bool   // nothing is held: the attempt is read again after its seal
	bytes   int64  // of pieces, as counted against the memory limit
	touched time.Time
	pieces  []*piece
	release func(bytes int64) // gives bytes back to the memory limit

	pending sync.WaitGroup // one for each piece that a worker has, and one while the site's keys are fetched

	// The goroutine that fetches the site's keys uses these, too.
	mu        sync.Mutex
	keysKnown bool         // entry or keysErr is set; guarded by mu
	entry     *certs.Entry // guarded by mu until pending is done
	keysErr   error        // guarded by mu until pending is done
	waiting   []*piece     // pieces to be verified when the keys are known; guarded by mu
}

// complete reports whether the attempt holds all of an upload of so many pairs. A nil attempt holds nothing.
func (a *attempt) complete(count uint64) bool {
	return a != nil && !a.dropped && uint64(a.next) == count
}

// drop forgets what the attempt holds. A worker that is verifying a piece of it finishes undisturbed.
func (a *attempt) drop() {
	a.dropped = true
	a.pieces = nil
	a.release(a.bytes)
	a.bytes = 0
	a.mu.Lock()
	a.waiting = nil
	a.mu.Unlock()
}

// add appends a piece at the expected position and reports whether it did. A piece that is there already changes
// nothing. The attempt is dropped if there is a gap before the piece, or if reserve has no room for the piece's bytes.
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

// fetchKeys waits for the site's keys, and has the pieces verified that arrived meanwhile.
func (s *Stage) fetchKeys(ctx context.Context, a *attempt) {
	defer a.pending.Done()
	entry, err := s.cfg.Certs.Get(ctx, a.site)
	a.mu.Lock()
	a.keysKnown, a.entry, a.keysErr = true, entry, err
	waiting := a.waiting
	a.waiting = nil
	a.mu.Unlock()
	if err != nil {
		return
	}
	for _, p := range waiting {
		s.submitPiece(ctx, a, p, entry.Keys)
	}
}

// verifyOnArrival has a piece verified now if the site's keys are known, and otherwise when they are.
func (s *Stage) verifyOnArrival(ctx context.Context, a *attempt, p *piece) {
	a.mu.Lock()
	if !a.keysKnown {
		a.waiting = append(a.waiting, p)
		a.mu.Unlock()
		return
	}
	entry := a.entry
	a.mu.Unlock()
	if entry != nil {
		s.submitPiece(ctx, a, p, entry.Keys)
	}
}

// submitPiece hands a piece of an attempt to the workers.
func (s *Stage) submitPiece(ctx context.Context, a *attempt, p *piece, keys []certs.Key) {
	a.pending.Add(1)
	err := s.submit(ctx, func(scratch *scratch) {
		defer a.pending.Done()
		s.verifyPiece(scratch, p, keys)
	})
	if err != nil {
		a.pending.Done()
	}
}
