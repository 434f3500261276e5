package ingest

// A log and a store in memory, with just enough of verify and sink between them to give every answer: a signature that begins with
// 'g' is good, the site "nocert.example" has no certificate.

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

var (
	errAway    = errors.New("the fake log is away")
	errUnknown = errors.New("the fake log lost the answer")
)

// fakeLog is topic uploads. Offsets count over all partitions together.
type fakeLog struct {
	t     testing.TB
	store *fakeStore

	mu        sync.Mutex
	records   []*recordpb.Upload                 // all partitions, by offset
	place     []int                              // partition of each record
	attempts  map[string]map[int]*recordpb.Chunk // chunks by attempt and first position
	followers []func([]byte)
	backlog   int64
	unsettled int // records whose Ack was not waited for

	// Faults, set through with.
	away     bool                                           // Send fails
	refuse   func(*recordpb.Upload) error                   // the Ack's error; the record is not stored
	lose     func(*recordpb.Upload) error                   // the Ack's error; the record is stored
	hold     chan struct{}                                  // Acks come once it is closed
	flush    error                                          // what Flush returns,
	disk     chan struct{}                                  // once this is closed
	quiet    bool                                           // no events
	deaf     bool                                           // Follow fails
	lag      chan struct{}                                  // results come once it is closed
	observed func(partition int, value []byte, waiting int) // called for each Send
}

func newFakeLog(t testing.TB) *fakeLog {
	return &fakeLog{t: t, store: newFakeStore(), attempts: make(map[string]map[int]*recordpb.Chunk)}
}

// with changes faults.
func (l *fakeLog) with(change func(*fakeLog)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

type fakeAck struct {
	log    *fakeLog
	hold   chan struct{}
	offset int64
	err    error
	once   sync.Once
}

func (a *fakeAck) Wait(ctx context.Context) (int64, error) {
	if a.hold != nil {
		select {
		case <-a.hold:
		case <-ctx.Done():
			return 0, errors.Join(errUnknown, ctx.Err())
		}
	}
	a.once.Do(func() { a.log.with(func(l *fakeLog) { l.unsettled-- }) })
	return a.offset, a.err
}

func (l *fakeLog) Send(ctx context.Context, partition int, value []byte) (Ack, error) {
	m, err := record.DecodeUpload(value)
	if err != nil {
		l.t.Errorf("an invalid record was sent: %v", err)
	}
	if len(value) > record.MaxBytes {
		l.t.Errorf("a record has %d bytes", len(value))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away {
		return nil, errAway
	}
	ack := &fakeAck{log: l, hold: l.hold}
	l.unsettled++
	if l.observed != nil {
		l.observed(partition, value, l.unsettled)
	}
	if l.refuse != nil {
		if ack.err = l.refuse(m); ack.err != nil {
			return ack, nil
		}
	}
	if l.lose != nil {
		ack.err = l.lose(m)
	}
	ack.offset = int64(len(l.records))
	l.records = append(l.records, m)
	l.place = append(l.place, partition)
	l.apply(m, ack.offset, partition)
	return ack, nil
}

func (l *fakeLog) MayBeStored(err error) bool { return errors.Is(err, errUnknown) }

func (l *fakeLog) Flush(context.Context) error {
	l.mu.Lock()
	disk, err := l.disk, l.flush
	l.mu.Unlock()
	if disk != nil {
		<-disk
	}
	return err
}

func (l *fakeLog) Backlog(context.Context) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.backlog, nil
}

func (l *fakeLog) Follow(ctx context.Context, ready func(), fn func([]byte)) error {
	l.mu.Lock()
	deaf := l.deaf
	l.mu.Unlock()
	if deaf {
		return errAway
	}
	l.with(func(l *fakeLog) { l.followers = append(l.followers, fn) })
	ready()
	<-ctx.Done()
	return ctx.Err()
}

// apply is verify: it keeps chunks, and judges an upload at its seal.
func (l *fakeLog) apply(m *recordpb.Upload, offset int64, partition int) {
	switch kind := m.Kind.(type) {
	case *recordpb.Upload_Chunk:
		c := kind.Chunk
		id := string(c.GetAttempt())
		if l.attempts[id] == nil {
			l.attempts[id] = make(map[int]*recordpb.Chunk)
		}
		l.attempts[id][int(c.GetFirst())] = c
		if c.GetSeal() != nil {
			l.judge(c.GetSeal(), l.attempts[id])
		}
	case *recordpb.Upload_Seal:
		chunks := l.attempts[string(kind.Seal.GetAttempt())]
		l.checkSeal(kind.Seal, chunks, partition)
		l.judge(kind.Seal, chunks)
	case *recordpb.Upload_Abort:
		delete(l.attempts, string(kind.Abort.GetAttempt()))
	}
}

// checkSeal checks what verify relies on: the first offset, and one partition for all.
func (l *fakeLog) checkSeal(s *recordpb.Seal, chunks map[int]*recordpb.Chunk, partition int) {
	first, pairs := int64(-1), 0
	for i, m := range l.records {
		if c := m.GetChunk(); c != nil && string(c.GetAttempt()) == string(s.GetAttempt()) {
			if first < 0 {
				first = int64(i)
			}
			if l.place[i] != partition {
				l.t.Errorf("an attempt's chunk is in partition %d, its seal in %d", l.place[i], partition)
			}
			pairs += len(c.GetHashes()) / 32
		}
	}
	if s.GetFirstOffset() != first || s.GetCount() != uint64(pairs) {
		l.t.Errorf("the seal says %d pairs from offset %d, the log has %d from %d", s.GetCount(), s.GetFirstOffset(), pairs, first)
	}
}

// judge is verify's and the sink's work on one upload.
func (l *fakeLog) judge(s *recordpb.Seal, chunks map[int]*recordpb.Chunk) {
	var firsts []int
	for first := range chunks {
		firsts = append(firsts, first)
	}
	slices.Sort(firsts)
	var events []*recordpb.Event
	results := make([]store.BatchResult, record.Batches(s.GetCount()))
	for _, first := range firsts {
		r := &results[first/record.BatchSize]
		r.Done = true
		l.judgeChunk(chunks[first], s, r)
	}
	for i, r := range results {
		e := &recordpb.Event{Upload: s.GetUpload(), Batch: uint32(i + 1), Shard: record.OutcomeShard,
			Claims: uint32(len(r.Added) + len(r.Duplicates)), BadSignatures: uint32(len(r.BadSignatures)), Errors: uint32(len(r.Errors))}
		if len(r.Errors) > 0 {
			e.Reason = r.Errors[0].Reason
		}
		if e.Claims > 0 {
			events = append(events, &recordpb.Event{Upload: s.GetUpload(), Batch: uint32(i + 1), Shard: 2,
				Added: uint32(len(r.Added)), Duplicates: uint32(len(r.Duplicates))})
		}
		events = append(events, e)
	}
	deliver := func(lag chan struct{}) {
		if lag != nil {
			<-lag
		}
		l.store.put(s, results)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.quiet {
			return
		}
		for _, e := range events { // apart, each twice: they may repeat
			value := record.Encode(&recordpb.Events{Events: []*recordpb.Event{e, e}})
			for _, fn := range l.followers {
				fn(value)
			}
		}
	}
	go deliver(l.lag)
}

func (l *fakeLog) judgeChunk(c *recordpb.Chunk, s *recordpb.Seal, r *store.BatchResult) {
	unparsed := make(map[int]*recordpb.Unparsed)
	for _, u := range c.GetUnparsed() {
		unparsed[int(u.GetIndex())] = u
	}
	signatures := c.GetSignatures()
	for i := range len(c.GetHashes()) / 32 {
		n := record.Uint16(c.GetSignatureLengths(), i)
		signature := signatures[:n]
		signatures = signatures[n:]
		hash := [32]byte(c.GetHashes()[32*i:])
		text := record.HexText(hash[:], record.Bit(c.GetUpper(), i))
		position := c.GetFirst() + uint32(i)
		switch {
		case unparsed[i] != nil:
			r.Errors = append(r.Errors, store.Failure{Text: unparsed[i].GetText(), Reason: unparsed[i].GetReason()})
		case s.GetSite() == "nocert.example":
			r.Errors = append(r.Errors, store.Failure{Text: text, Reason: "no certificate: connection refused"})
		case n == 0 || signature[0] != 'g':
			r.BadSignatures = append(r.BadSignatures, text)
		case l.store.claim(hash, s, position, signature):
			r.Added = append(r.Added, text)
		default:
			r.Duplicates = append(r.Duplicates, text)
		}
	}
}

// count returns how many records of each kind the log has.
func (l *fakeLog) count() (chunks, seals, aborts int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.records {
		switch {
		case m.GetSeal() != nil:
			seals++
		case m.GetAbort() != nil:
			aborts++
		case m.GetChunk() != nil:
			chunks++
			if m.GetChunk().GetSeal() != nil {
				seals++
			}
		}
	}
	return chunks, seals, aborts
}

// fakeStore is ClickHouse.
type fakeStore struct {
	mu      sync.Mutex
	uploads map[uuid.UUID]store.Upload
	results map[uuid.UUID][]store.BatchResult
	hashes  map[[32]byte]store.SignedHash
	away    bool
	stuck   chan struct{} // inserts wait until it is closed
	sinks   bool          // the sink writes rows of uploads, too
	inserts int
	asked   int // for an upload or its progress
	chain   store.Certificate
}

func newFakeStore() *fakeStore {
	return &fakeStore{
		uploads: make(map[uuid.UUID]store.Upload), results: make(map[uuid.UUID][]store.BatchResult),
		hashes: make(map[[32]byte]store.SignedHash),
	}
}

func (s *fakeStore) with(change func(*fakeStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *fakeStore) claim(hash [32]byte, seal *recordpb.Seal, position uint32, signature []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := uuid.UUID(seal.GetUpload())
	if owner, ok := s.hashes[hash]; ok {
		return owner.Upload == id && owner.Position == position
	}
	s.hashes[hash] = store.SignedHash{
		Upload: id, Position: position, Site: seal.GetSite(), SignedAt: seal.GetAcceptedMs(), Algorithm: "fake", Signature: slices.Clone(signature),
	}
	return true
}

func (s *fakeStore) put(seal *recordpb.Seal, results []store.BatchResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := uuid.UUID(seal.GetUpload())
	s.results[id] = results
	if s.sinks {
		s.uploads[id] = store.Upload{ID: id, Site: seal.GetSite(), Count: seal.GetCount(), AcceptedAt: seal.GetAcceptedMs()}
	}
}

func (s *fakeStore) unavailable() error {
	if s.away {
		return store.ErrUnavailable
	}
	return nil
}

func (s *fakeStore) Upload(_ context.Context, id uuid.UUID) (store.Upload, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	up, ok := s.uploads[id]
	return up, ok, s.unavailable()
}

func (s *fakeStore) Progress(_ context.Context, id uuid.UUID) ([]store.BatchProgress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	var progress []store.BatchProgress
	for i, r := range s.results[id] {
		progress = append(progress, store.BatchProgress{
			Batch: uint32(i + 1), Done: r.Done, Added: uint64(len(r.Added)), Duplicates: uint64(len(r.Duplicates)),
			BadSignatures: uint64(len(r.BadSignatures)), Errors: uint64(len(r.Errors)),
		})
	}
	return progress, s.unavailable()
}

func (s *fakeStore) Batch(_ context.Context, id uuid.UUID, batch uint32) (store.BatchResult, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	results := s.results[id]
	if int(batch) > len(results) {
		return store.BatchResult{}, false, s.unavailable()
	}
	return results[batch-1], true, s.unavailable()
}

func (s *fakeStore) Hash(_ context.Context, hash [32]byte) (store.SignedHash, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.hashes[hash]
	return h, ok, s.unavailable()
}

func (s *fakeStore) InsertUploads(ctx context.Context, rows []store.Upload) error {
	s.mu.Lock()
	stuck := s.stuck
	s.inserts++
	s.mu.Unlock()
	if stuck != nil {
		select {
		case <-stuck:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return store.ErrUnavailable
	}
	for _, row := range rows {
		if first, ok := s.uploads[row.ID]; !ok || row.AcceptedAt < first.AcceptedAt { // as table uploads does
			s.uploads[row.ID] = row
		}
	}
	return nil
}

func (s *fakeStore) Certificate(_ context.Context, fingerprint [32]byte) (store.Certificate, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.chain, len(s.chain.Chain) > 0 && sha256.Sum256(s.chain.Chain[0]) == fingerprint, s.unavailable()
}
