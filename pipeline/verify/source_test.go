package verify

// Uploads whose outcome is known, and the reading of what the stage made of them.

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/testsite"
)

// What a pair is made to be. The values are what results are compared by.
const (
	isGood     = "claim"
	isBad      = "bad"
	isUnparsed = "unparsed"
)

// source makes uploads whose outcome is known.
type source struct {
	site    *testsite.Site
	attempt uuid.UUID
	upload  uuid.UUID
	kinds   []string
	chunks  []*recordpb.Chunk
}

// newSource signs kinds[i] pairs and cuts them into chunks of at most size pairs.
func newSource(site *testsite.Site, seed string, kinds []string, size int) *source {
	s := &source{
		site: site, kinds: kinds,
		attempt: uuid.NewSHA1(uuid.NameSpaceOID, []byte("attempt"+seed)), upload: uuid.NewSHA1(uuid.NameSpaceOID, []byte("upload"+seed)),
	}
	for first := 0; first < len(kinds); {
		n := min(size, len(kinds)-first, record.BatchSize-first%record.BatchSize)
		s.chunks = append(s.chunks, s.chunk(seed, first, n))
		first += n
	}
	return s
}

func (s *source) chunk(seed string, first, n int) *recordpb.Chunk {
	c := &recordpb.Chunk{Attempt: s.attempt[:], Site: s.site.Name, First: uint32(first)}
	for i := range n {
		hash := sha256.Sum256(fmt.Append(nil, seed, first+i))
		upper := (first+i)%7 == 0
		signature := s.site.SignECDSA(hash, upper)
		switch s.kinds[first+i] {
		case isBad:
			signature[len(signature)-1] ^= 1
		case isUnparsed:
			c.Unparsed = append(c.Unparsed, &recordpb.Unparsed{Index: uint32(i), Text: fmt.Sprint("text ", first+i), Reason: isUnparsed})
			hash, upper = [32]byte{}, false
		}
		if upper {
			c.Upper = record.SetBit(c.Upper, i, n)
		}
		c.Hashes = append(c.Hashes, hash[:]...)
		c.Signatures = append(c.Signatures, signature...)
		c.SignatureLengths = record.AppendUint16(c.SignatureLengths, len(signature))
	}
	return c
}

func (s *source) seal(firstOffset int64) *recordpb.Seal {
	return &recordpb.Seal{
		Attempt: s.attempt[:], Upload: s.upload[:], Site: s.site.Name, Count: uint64(len(s.kinds)), FirstOffset: firstOffset, AcceptedMs: 1234,
	}
}

// write appends the whole upload.
func (s *source) write(l *memoryLog) {
	first := int64(-1)
	for _, c := range s.chunks {
		if o := l.append(chunkRecord(c)); first < 0 {
			first = o
		}
	}
	l.append(sealRecord(s.seal(first)))
}

func chunkRecord(c *recordpb.Chunk) *recordpb.Upload {
	return &recordpb.Upload{Kind: &recordpb.Upload_Chunk{Chunk: c}}
}

func sealRecord(s *recordpb.Seal) *recordpb.Upload {
	return &recordpb.Upload{Kind: &recordpb.Upload_Seal{Seal: s}}
}

// forwarded is what was sent to the shards: for every upload and every position, what became of the pair. A record that
// repeats another one changes nothing.
type forwarded struct {
	pairs   map[uuid.UUID]map[uint32]string
	uploads map[uuid.UUID]uint64
}

// read folds all records of topic verified and checks what must hold of each: shards own their hashes, and a replay
// repeats a part to the byte. The caller holds mu, or the stage has stopped.
func (l *memoryLog) read(shards int) (*forwarded, error) {
	f := &forwarded{pairs: make(map[uuid.UUID]map[uint32]string), uploads: make(map[uuid.UUID]uint64)}
	parts := make(map[string]string)
	for shard := range shards {
		for _, value := range l.topics[fmt.Sprintf("verified/%d", shard)] {
			m, err := record.DecodeVerified(value)
			if err != nil {
				return nil, err
			}
			if len(value) > record.MaxBytes {
				return nil, fmt.Errorf("a record of %d bytes", len(value))
			}
			if err := f.fold(m, shard, shards, parts); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

func (f *forwarded) fold(m *recordpb.Verified, shard, shards int, parts map[string]string) error {
	for _, c := range m.GetBlock().GetClaims() {
		key := fmt.Sprint(uuid.UUID(c.Upload), c.Batch, shard, c.Part)
		if again := string(record.Encode(c)); parts[key] != "" && parts[key] != again {
			return errors.New("a replay differs: " + key)
		} else {
			parts[key] = again
		}
		for i := range len(c.Hashes) / record.HashSize {
			if record.Shard(c.Hashes[i*record.HashSize:], shards) != shard {
				return errors.New("a claim in a shard that doesn't own it")
			}
			f.set(c.Upload, record.Position(c.Batch, record.Uint16(c.Indexes, i)), isGood)
		}
	}
	for _, o := range m.GetOutcomes().GetOutcomes() {
		for i := range len(o.BadHashes) / record.HashSize {
			f.set(o.Upload, record.Position(o.Batch, record.Uint16(o.BadIndexes, i)), isBad)
		}
		for i := range len(o.FailedHashes) / record.HashSize {
			f.set(o.Upload, record.Position(o.Batch, record.Uint16(o.FailedIndexes, i)), o.FailedReason)
		}
		for _, x := range o.Failures {
			f.set(o.Upload, record.Position(o.Batch, int(x.Index)), x.Reason)
		}
	}
	for _, a := range m.GetOutcomes().GetUploads() {
		f.uploads[uuid.UUID(a.Upload)] = a.Count
	}
	return nil
}

func (f *forwarded) set(upload []byte, position uint32, what string) {
	id := uuid.UUID(upload)
	if f.pairs[id] == nil {
		f.pairs[id] = make(map[uint32]string)
	}
	if was := f.pairs[id][position]; was != "" && was != what {
		what = was + " and " + what // no pair has two outcomes
	}
	f.pairs[id][position] = what
}

// check reports how s's outcome differs from what it was made to be.
func (f *forwarded) check(s *source) error {
	if f.uploads[s.upload] != uint64(len(s.kinds)) {
		return fmt.Errorf("upload %s was forwarded with %d of %d pairs", s.upload, f.uploads[s.upload], len(s.kinds))
	}
	if got := f.pairs[s.upload]; len(got) != len(s.kinds) {
		return fmt.Errorf("%d of %d pairs have an outcome", len(got), len(s.kinds))
	}
	for i, want := range s.kinds {
		if got := f.pairs[s.upload][uint32(i)]; got != want {
			return fmt.Errorf("pair %d: %s, want %s", i, got, want)
		}
	}
	return nil
}

// randomBytes is a deterministic stream for tests that need noise.
func randomBytes(seed uint64, n int) []byte {
	var out []byte
	for i := uint64(0); len(out) < n; i++ {
		sum := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, seed<<32|i))
		out = append(out, sum[:]...)
	}
	return out[:n]
}
