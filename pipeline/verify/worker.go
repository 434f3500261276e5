package verify

// Verifying one chunk: every pair gets a verdict, which says whether its signature is valid and under which key. A verdict
// depends on the pair and the keys alone, so whoever repeats the work under the same keys gets the same (I5).

import (
	"crypto/sha256"

	"countersign/pipeline/certs"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// Verdicts. A valid pair's is the number of its key, counted from 1.
const (
	bad      byte = 0
	unparsed byte = 255
	maxKeys       = 254
)

// scratch is one worker's memory, reused from job to job.
type scratch struct {
	pairs      []int
	digests    [][32]byte
	signatures [][]byte
	valid      []bool
}

// judge returns the verdicts on a chunk's pairs under keys, one byte each.
func (s *scratch) judge(c *recordpb.Chunk, keys []certs.Key) []byte {
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
	clear(s.signatures) // the chunk is not ours to keep
	return verdicts
}

// gather collects the pairs that are not yet known to be good or unparsed and whose signature could be one of key's.
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

// anyBad reports whether a signature failed.
func anyBad(verdicts []byte) bool {
	for _, v := range verdicts {
		if v == bad {
			return true
		}
	}
	return false
}
