package verify

// Workers check signatures, for all partitions. Every pair gets a verdict, which says whether its signature is valid
// and under which key. A verdict depends on the pair and the keys alone, so checking again under the same keys gives
// the same verdict (I5).

import (
	"context"
	"crypto/sha256"
	"slices"

	"countersign/pipeline/certs"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// A verdict is one byte: bad, unparsed, or for a valid pair the number of its key, counted from 1.
const (
	bad      byte = 0
	unparsed byte = 255
	maxKeys       = 254
)

// work runs jobs until ctx ends.
func (s *Stage) work(ctx context.Context) {
	scratch := new(scratch)
	for {
		select {
		case job := <-s.jobs:
			job(scratch)
		case <-ctx.Done():
			return
		}
	}
}

// submit hands a job to the workers, or reports that ctx ended first. It waits until a worker is free, and for nothing
// else.
func (s *Stage) submit(ctx context.Context, job func(*scratch)) error {
	select {
	case s.jobs <- job:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// verifyPiece sets a piece's verdicts. It runs on a worker.
func (s *Stage) verifyPiece(scratch *scratch, p *piece, keys []certs.Key) {
	p.verdicts = scratch.verify(p.chunk, keys)
	s.metrics.verified.Add(float64(len(p.verdicts)))
}

// scratch is one worker's memory, reused from job to job.
type scratch struct {
	pairs      []int
	digests    [][32]byte
	signatures [][]byte
	valid      []bool
}

// verify returns the verdicts on a chunk's pairs under keys, one byte each.
func (s *scratch) verify(c *recordpb.Chunk, keys []certs.Key) []byte {
	n := len(c.Hashes) / record.HashSize
	verdicts := make([]byte, n)
	for _, u := range c.Unparsed {
		verdicts[u.Index] = unparsed
	}
	if len(keys) > maxKeys {
		keys = keys[:maxKeys]
	}
	for k, key := range keys {
		s.gather(c, verdicts, key)
		if len(s.pairs) == 0 {
			continue
		}
		key.Verifier.Verify(s.valid, s.digests, s.signatures)
		for i, pair := range s.pairs {
			if s.valid[i] {
				verdicts[pair] = byte(k + 1)
			}
		}
	}
	clear(s.signatures) // they point into the chunk, which must not be kept
	return verdicts
}

// gather collects the pairs that have no verdict yet and whose signature has a length that key makes.
func (s *scratch) gather(c *recordpb.Chunk, verdicts []byte, key certs.Key) {
	s.pairs, s.digests, s.signatures, s.valid = s.pairs[:0], s.digests[:0], s.signatures[:0], s.valid[:0]
	var text [2 * record.HashSize]byte
	at := 0
	for i, verdict := range verdicts {
		length := record.Uint16(c.SignatureLengths, i)
		signature := c.Signatures[at : at+length]
		at += length
		if verdict != bad || !key.Verifier.Fits(signature) {
			continue
		}
		hash := c.Hashes[i*record.HashSize : (i+1)*record.HashSize]
		s.pairs = append(s.pairs, i)
		s.digests = append(s.digests, sha256.Sum256(record.AppendHexText(text[:0], hash, record.Bit(c.Upper, i))))
		s.signatures = append(s.signatures, signature)
		s.valid = append(s.valid, false)
	}
}

// verdicts are those on a whole upload, in order, under the keys of its chains.
type verdicts struct {
	chains  []certs.Chain
	byPiece [][]byte
}

// anyBad reports whether a signature failed.
func (v *verdicts) anyBad() bool {
	return slices.ContainsFunc(v.byPiece, func(verdicts []byte) bool { return slices.Contains(verdicts, bad) })
}

// attach returns a function that takes an upload's chunks in order, adds the verdicts to each, and calls use with it.
// The chunks must be cut as those were that the verdicts are on.
func (v *verdicts) attach(use func(*piece) error) func(*recordpb.Chunk) error {
	rest := v.byPiece
	return func(c *recordpb.Chunk) error {
		next := &piece{chunk: c}
		if len(rest) == 0 || len(rest[0]) != next.pairs() {
			return unrecoverable("at position %d the log no longer holds what was verified", c.First)
		}
		next.verdicts, rest = rest[0], rest[1:]
		return use(next)
	}
}
