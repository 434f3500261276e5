package verify

// A log in memory, a site that signs, and the reading of what the stage forwarded.

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"

	"countersign/pipeline/certs"
	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/pipeline/signature"
	"countersign/testsite"
)

// memoryLog is every topic of one service. Appends can be made to fail, with the record stored or not.
type memoryLog struct {
	mu        sync.Mutex          // guards the fields below, but for flush
	changed   *sync.Cond          // on mu: a record was appended, or an offset committed
	topics    map[string][][]byte // "topic/partition"
	committed int64               // of uploads/0
	fault     func(topic string) (store bool, err error)

	// flush runs before each Flush, without mu, and may block or fail it. Nil: every Flush succeeds at once. It is set before
	// the stage runs.
	flush func(context.Context) error

	flushed     int // records of uploads/0 that a power cut leaves
	forwardedAt int // flushed when the first record of topic verified was sent; -1: none was sent
}

func newMemoryLog() *memoryLog {
	l := &memoryLog{topics: make(map[string][][]byte), forwardedAt: -1}
	l.changed = sync.NewCond(&l.mu)
	return l
}

// await returns when reached, which is called with mu held after every change, reports true; or false when ctx ends before.
func (l *memoryLog) await(ctx context.Context, reached func() bool) bool {
	stop := context.AfterFunc(ctx, l.wake)
	defer stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for !reached() {
		if ctx.Err() != nil {
			return false
		}
		l.changed.Wait()
	}
	return true
}

// wake wakes all that wait for a change. It takes mu, so that nobody is between looking and waiting.
func (l *memoryLog) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed.Broadcast()
}

type memoryAck struct {
	offset int64
	err    error
}

func (a memoryAck) Wait(context.Context) (int64, error) { return a.offset, a.err }

func (l *memoryLog) Send(ctx context.Context, topic string, partition int, value []byte) (Ack, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	store, err := true, error(nil)
	if l.fault != nil {
		store, err = l.fault(topic)
	}
	key := fmt.Sprintf("%s/%d", topic, partition)
	if topic == record.TopicVerified && l.forwardedAt < 0 {
		l.forwardedAt = l.flushed
	}
	if store {
		l.topics[key] = append(l.topics[key], slices.Clone(value))
	}
	l.changed.Broadcast()
	return memoryAck{int64(len(l.topics[key]) - 1), err}, nil
}

func (l *memoryLog) Flush(ctx context.Context) error {
	if l.flush != nil {
		if err := l.flush(ctx); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flushed = len(l.topics["uploads/0"])
	return nil
}

func (l *memoryLog) append(m *recordpb.Upload) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.topics["uploads/0"] = append(l.topics["uploads/0"], record.Encode(m))
	l.changed.Broadcast()
	return int64(len(l.topics["uploads/0"]) - 1)
}

func (l *memoryLog) end() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.topics["uploads/0"]))
}

// done reports whether everything in the log was worked off. The caller holds mu.
func (l *memoryLog) done() bool {
	return l.committed == int64(len(l.topics["uploads/0"]))
}

// memoryPartition is one assignment of uploads/0.
type memoryPartition struct {
	log  *memoryLog
	next int64
}

func (p *memoryPartition) ID() int      { return 0 }
func (p *memoryPartition) Start() int64 { return p.next }

func (p *memoryPartition) Fetch(ctx context.Context) ([]log.Message, error) {
	if !p.log.await(ctx, func() bool { return p.next < int64(len(p.log.topics["uploads/0"])) }) || ctx.Err() != nil {
		return nil, ctx.Err()
	}
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	to := min(p.next+3, int64(len(p.log.topics["uploads/0"])))
	messages := p.log.messages(p.next, to)
	p.next = to
	return messages, nil
}

func (l *memoryLog) messages(from, to int64) []log.Message {
	var out []log.Message
	for o := from; o < to; o++ {
		out = append(out, log.Message{Topic: record.TopicUploads, Offset: o, Value: l.topics["uploads/0"][o]})
	}
	return out
}

func (p *memoryPartition) Commit(next int64) {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	p.log.committed = max(p.log.committed, next)
	p.log.changed.Broadcast()
}

func (p *memoryPartition) ReadRange(_ context.Context, from, to int64, fn func(log.Message) error) error {
	p.log.mu.Lock()
	messages := p.log.messages(from, min(to, int64(len(p.log.topics["uploads/0"]))))
	p.log.mu.Unlock()
	for _, m := range messages {
		if err := fn(m); err != nil {
			return err
		}
	}
	return nil
}

// fakeCerts serves the current chains of sites, without a cache.
type fakeCerts struct {
	mu     sync.Mutex
	cached map[string]*certs.Entry
	fresh  map[string]*certs.Entry
	err    error
	hang   string // a site that doesn't answer
}

func (f *fakeCerts) serve(t testing.TB, name string, site *testsite.Site) {
	var chains []certs.Chain
	for _, ders := range site.Chains() {
		chains = append(chains, certs.Chain{Certificates: ders})
	}
	keys, err := f.KeysOf(chains)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fresh == nil {
		f.cached, f.fresh = make(map[string]*certs.Entry), make(map[string]*certs.Entry)
	}
	f.fresh[name] = &certs.Entry{Chains: chains, Keys: keys}
}

func (f *fakeCerts) Get(ctx context.Context, site string) (*certs.Entry, error) {
	if f.hang == site {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	if f.cached[site] == nil {
		f.cached[site] = f.fresh[site]
	}
	if f.cached[site] == nil {
		return nil, &certs.Unavailable{Site: site, Reason: site + ": no such site"}
	}
	return f.cached[site], nil
}

func (f *fakeCerts) Refetch(_ context.Context, site string, _ *certs.Entry) (*certs.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cached[site] = f.fresh[site]
	return f.cached[site], f.err
}

func (f *fakeCerts) KeysOf(chains []certs.Chain) (keys []certs.Key, _ error) {
	for _, chain := range chains {
		leaf, err := chain.Leaf()
		if err != nil {
			return nil, err
		}
		verifier, err := signature.NewKey(leaf.PublicKey)
		if err != nil {
			return nil, err
		}
		keys = append(keys, certs.Key{Fingerprint: chain.Fingerprint(), Verifier: verifier})
	}
	return keys, nil
}

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

// forwarded is what the shards were told, replays folded: for every upload, position → what became of it.
type forwarded struct {
	pairs   map[uuid.UUID]map[uint32]string
	uploads map[uuid.UUID]uint64
}

// read folds all records of topic verified and checks what must hold of each: shards own their hashes, and a replay repeats a part to
// the byte. The caller holds mu, or the stage has stopped.
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
		return fmt.Errorf("upload %s was told with %d of %d pairs", s.upload, f.uploads[s.upload], len(s.kinds))
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
