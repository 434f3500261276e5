package verify

// Workers check signatures, for all partitions. Every pair gets a verdict, which says whether its signature is valid
// and under which key. A verdict depends on the pair and the keys alone, so checking again under the same keys gives
// the same verdict (I5).
//
// Sites and clients get the workers in turns (package fair), by the time that their signatures take: whoever names a
// site with a slow key waits for himself. Chunks say who sent them, so turns hold before an upload is sealed, too. And
// since anybody may name any site, the clients who name one site have turns among themselves.

import (
	"context"
	"crypto/sha256"
	"sync/atomic"
	"time"

	"countersign/pipeline/certs"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// A verdict is one byte: bad, or for a valid pair the number of its key, counted from 1, or why it has none.
const (
	bad      byte = 0
	repeated byte = 254 // it has the verdict of an earlier pair, as verification.repeats says
	unparsed byte = 255
	maxKeys       = 253
)

// account is whom worker time is charged to.
type account struct {
	client bool
	name   string
}

// accountsOf returns the accounts of a site, and of a client where one is known.
func accountsOf(site string, client []byte) []account {
	accounts := []account{{name: site}}
	if len(client) > 0 {
		accounts = append(accounts, account{client: true, name: string(client)})
	}
	return accounts
}

// job is some pairs of a chunk, to be checked under keys.
type job struct {
	v        *verification
	chunk    *recordpb.Chunk
	verdicts []byte   // of the chunk; the job writes those of pairs
	pairs    []uint16 // in ascending order
	keys     []certs.Key
	first    int           // number of keys[0], counted from 0
	price    time.Duration // by the table
	queued   time.Time
	batch    *jobs
}

// jobs are those that one chunk was cut into.
type jobs struct {
	left atomic.Int32
	done func() // called when none is left; may be nil
}

// work does jobs until ctx ends.
func (s *Stage) work(ctx context.Context) {
	scratch := new(scratch)
	for {
		j, done, err := s.jobs.Take(ctx)
		if err != nil {
			return
		}
		s.metrics.waited.Observe(s.cfg.Clock().Sub(j.queued).Seconds())
		s.do(scratch, &j)
		done()
		if j.batch.left.Add(-1) == 0 && j.batch.done != nil {
			j.batch.done()
		}
		j.v.finish()
	}
}

func (s *Stage) do(scratch *scratch, j *job) {
	if j.v.cancelled.Load() {
		return
	}
	start := time.Now()
	good := scratch.verify(j)
	took := time.Since(start).Seconds()
	n := len(j.pairs)
	s.metrics.verified.Add(float64(n))
	s.metrics.goodSeconds.Add(took * float64(good) / float64(n))
	s.metrics.badSeconds.Add(took * float64(n-good) / float64(n))
}

// scratch is one worker's memory, reused from job to job.
type scratch struct {
	ends       []int
	pairs      []int
	digests    [][32]byte
	signatures [][]byte
	valid      []bool
}

// verify sets the verdicts on a job's pairs, and returns how many are good.
func (s *scratch) verify(j *job) (good int) {
	s.ends = s.ends[:0]
	at := 0
	for i := range len(j.chunk.SignatureLengths) / 2 {
		at += record.Uint16(j.chunk.SignatureLengths, i)
		s.ends = append(s.ends, at)
	}
	for k, key := range j.keys {
		s.gather(j, key)
		if len(s.pairs) == 0 {
			continue
		}
		key.Verifier.Verify(s.valid, s.digests, s.signatures)
		for i, pair := range s.pairs {
			if s.valid[i] {
				j.verdicts[pair] = byte(j.first + k + 1)
				good++
			}
		}
	}
	clear(s.signatures) // they point into the chunk, which must not be kept
	return good
}

// gather collects the pairs that have no verdict yet and whose signature has a length that key makes.
func (s *scratch) gather(j *job, key certs.Key) {
	s.pairs, s.digests, s.signatures, s.valid = s.pairs[:0], s.digests[:0], s.signatures[:0], s.valid[:0]
	var text [2 * record.HashSize]byte
	c := j.chunk
	for _, pair := range j.pairs {
		i := int(pair)
		signature := c.Signatures[s.ends[i]-record.Uint16(c.SignatureLengths, i) : s.ends[i]]
		if j.verdicts[i] != bad || !key.Verifier.Fits(signature) {
			continue
		}
		hash := c.Hashes[i*record.HashSize : (i+1)*record.HashSize]
		s.pairs = append(s.pairs, i)
		s.digests = append(s.digests, sha256.Sum256(record.AppendHexText(text[:0], hash, record.Bit(c.Upper, i))))
		s.signatures = append(s.signatures, signature)
		s.valid = append(s.valid, false)
	}
}
