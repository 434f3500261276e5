package verify

// What the stage holds of an open upload. It is a cache: an attempt that is not held, or not from its first pair, is
// read again from the log after its seal. So dropping an attempt costs work and nothing else.
//
// Memory goes to the attempts that came first. An attempt that finds the limit reached is not held from then on.
// Pushing out another one in its place would lose what was verified of that one. Only attempts that nobody has written
// to for long are pushed out.

import (
	"time"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// attempt is what is held of one attempt at an upload. It belongs to the reader until the seal, then to the
// coordinator, then to the forwarder.
type attempt struct {
	stage   *Stage
	site    string
	client  []byte // stands for who sent it, by its first chunk; empty: not known
	next    uint32 // position of the pair that is expected next
	dropped bool   // nothing is held: the attempt is read again after its seal
	records int64  // of its chunks that were read
	bytes   int64  // of chunks, as counted against the memory limit
	touched time.Time
	chunks  []*recordpb.Chunk

	// verification checks the chunks while they arrive; nil while nothing is known of the site. It has seen the first
	// chunks, at least.
	verification *verification
}

// complete reports whether the attempt holds all of an upload of so many pairs. A nil attempt holds nothing.
func (a *attempt) complete(count uint64) bool {
	return a != nil && !a.dropped && uint64(a.next) == count
}

// drop forgets what the attempt holds. Its bytes count as held until the workers have none of its chunks.
func (a *attempt) drop() {
	a.dropped = true
	a.chunks = nil
	bytes := a.bytes
	a.bytes = 0
	release := func() { a.stage.held.Add(-bytes) }
	if a.verification == nil {
		release()
		return
	}
	a.verification.cancelled.Store(true)
	a.verification.whenIdle(release)
	a.verification = nil
}

// replace puts another verification in place of the one that the attempt has, if any.
func (a *attempt) replace(v *verification) {
	if old := a.verification; old != nil {
		old.cancelled.Store(true)
		// The old one's jobs hold chunks: what the attempt frees is free when both are done.
		v.mu.Lock()
		v.out++
		v.mu.Unlock()
		old.whenIdle(v.finish)
	}
	a.verification = v
}

// add appends a chunk at the expected position and reports whether it did. A chunk that is there already changes
// nothing. The attempt is dropped if there is a gap before the chunk, or if reserve has no room for the chunk's bytes.
func (a *attempt) add(c *recordpb.Chunk, reserve func(bytes int64) bool) bool {
	if a.dropped || c.First < a.next {
		return false
	}
	size := sizeOf(c)
	if c.First > a.next || !reserve(size) {
		a.drop()
		return false
	}
	a.next += uint32(len(c.Hashes) / record.HashSize)
	a.bytes += size
	a.chunks = append(a.chunks, c)
	return true
}

// sizeOf is what a chunk counts against the memory limit, in bytes.
func sizeOf(c *recordpb.Chunk) int64 {
	pairs := len(c.GetHashes()) / record.HashSize
	n := len(c.Hashes) + len(c.Signatures) + len(c.SignatureLengths) + len(c.Upper) + 4*pairs + 768
	for _, u := range c.Unparsed {
		n += len(u.Text) + len(u.Reason) + 64
	}
	return int64(n)
}

// verifyArrived has the chunks checked that are held and were not, if it is known by what. It never waits.
func (a *attempt) verifyArrived() {
	if a.verification == nil {
		known := a.stage.cfg.Certs.Known(a.site)
		if len(known.Leaves) == 0 {
			return
		}
		a.verification = a.stage.newVerification(a.site, a.client, known.Chains(), known.Keys())
	}
	a.verifyRest()
}

// verifyRest has the chunks checked that were not.
func (a *attempt) verifyRest() {
	for _, c := range a.chunks[len(a.verification.verdicts):] {
		a.verification.add(c, nil)
	}
}
