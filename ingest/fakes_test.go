package ingest

// A log in memory, with just enough of verify and sink behind it to give every answer: a signature that begins with 'g'
// is good, and the site "nocert.example" has no certificate.

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/uuid"

	"countersign/ingest/internal/ingesttest"
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
	store *ingesttest.Store

	mu        sync.Mutex
	records   []*recordpb.Upload // all partitions, by offset
	place     []int              // partition of each record
	followers []func([]byte)
	backlog   int64
	unsettled int // records whose Ack was not waited for

	// Faults, set through with.
	away     bool                              // Send fails
	refuse   func(*recordpb.Upload) error      // the Ack's error; the record is not stored
	lose     func(*recordpb.Upload) error      // the Ack's error; the record is stored
	hold     chan struct{}                     // Acks come once it is closed
	flush    func() error                      // called by Flush, not under mu
	quiet    bool                              // no events
	unready  error                             // of the process's check of the log
	behind   chan struct{}                     // CaughtUp and Settled return once it is closed
	mute     bool                              // Tell fails
	deaf     bool                              // Follow fails
	lag      chan struct{}                     // results come once it is closed
	sinks    bool                              // the sink writes rows of uploads, too
	observed func(value []byte, unsettled int) // called for each Send
}

func newFakeLog(t testing.TB) *fakeLog { return &fakeLog{t: t, store: ingesttest.NewStore()} }

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

func (l *fakeLog) Send(_ context.Context, partition int, value []byte) (Ack, error) {
	m, err := record.DecodeUpload(value)
	if err != nil || len(value) > record.MaxBytes {
		l.t.Errorf("an invalid record of %d bytes was sent: %v", len(value), err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away {
		return nil, errAway
	}
	ack := &fakeAck{log: l, hold: l.hold}
	l.unsettled++
	if l.observed != nil {
		l.observed(value, l.unsettled)
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
	if s := sealOf(m); s != nil {
		l.process(s, l.chunks(s, partition))
	}
	return ack, nil
}

func (l *fakeLog) MayBeStored(err error) bool { return errors.Is(err, errUnknown) }

func (l *fakeLog) Full(err error) bool { return errors.Is(err, errFull) }

func (l *fakeLog) Flush(context.Context) error {
	l.mu.Lock()
	flush := l.flush
	l.mu.Unlock()
	if flush == nil {
		return nil
	}
	return flush()
}

// Tell brings the record to every follower.
func (l *fakeLog) Tell(_ context.Context, value []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away || l.mute {
		return errAway
	}
	for _, fn := range l.followers {
		fn(value)
	}
	return nil
}

func (l *fakeLog) Followed() error { return nil }

// check is the process's check of the log.
func (l *fakeLog) check(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unready
}

func (l *fakeLog) CaughtUp(ctx context.Context) error {
	l.mu.Lock()
	behind := l.behind
	l.mu.Unlock()
	if behind == nil {
		return nil
	}
	select {
	case <-behind:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *fakeLog) Settled(ctx context.Context) error { return l.CaughtUp(ctx) }

func (l *fakeLog) Backlog(context.Context) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.backlog, nil
}

func (l *fakeLog) Follow(ctx context.Context, ready func(), fn func([]byte)) error {
	l.mu.Lock()
	deaf := l.deaf
	l.followers = append(l.followers, fn)
	l.mu.Unlock()
	if deaf {
		return errAway
	}
	ready()
	<-ctx.Done()
	return ctx.Err()
}

// sealOf returns the seal that a record is or brings along; nil: none.
func sealOf(m *recordpb.Upload) *recordpb.Seal {
	if s := m.GetSeal(); s != nil {
		return s
	}
	return m.GetChunk().GetSeal()
}

// chunks returns the chunks that a seal is about, and checks what verify relies on: the first offset, the number of
// pairs, and one partition for all.
func (l *fakeLog) chunks(s *recordpb.Seal, partition int) (chunks []*recordpb.Chunk) {
	first, pairs := int64(-1), 0
	for i, m := range l.records {
		c := m.GetChunk()
		if c == nil || string(c.GetAttempt()) != string(s.GetAttempt()) {
			continue
		}
		if first < 0 {
			first = int64(i)
		}
		if l.place[i] != partition || int(c.GetFirst()) != pairs {
			l.t.Errorf("a chunk at %d is in partition %d, its seal in %d, and %d pairs came before",
				c.GetFirst(), l.place[i], partition, pairs)
		}
		pairs += len(c.GetHashes()) / 32
		chunks = append(chunks, c)
	}
	if s.GetCount() != uint64(pairs) || s.GetFirstOffset() != first && chunks[0].GetSeal() == nil {
		l.t.Errorf("the seal says %d pairs from offset %d, the log has %d from %d",
			s.GetCount(), s.GetFirstOffset(), pairs, first)
	}
	return chunks
}

// process is verify's and the sink's work on one upload.
func (l *fakeLog) process(s *recordpb.Seal, chunks []*recordpb.Chunk) {
	batches := make([]store.BatchResult, record.Batches(s.GetCount()))
	l.store.With(func(to *ingesttest.Store) {
		for _, c := range chunks {
			b := &batches[c.GetFirst()/record.BatchSize]
			b.Done = true
			outcomes(to, c, s, b)
		}
	})
	lag := l.lag
	go func() {
		if lag != nil {
			<-lag
		}
		id := uuid.UUID(s.GetUpload())
		l.store.With(func(to *ingesttest.Store) {
			to.Results[id] = batches
			if l.sinks {
				to.Rows[id] = store.Upload{
					ID: id, Site: s.GetSite(), Count: s.GetCount(), AcceptedAt: s.GetAcceptedMs(),
				}
			}
		})
		l.publish(s.GetUpload(), batches)
	}()
}

// publish sends the events of an upload, each twice, because they may repeat.
func (l *fakeLog) publish(upload []byte, batches []store.BatchResult) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.quiet {
		return
	}
	for i, b := range batches {
		shard := &recordpb.Event{Shard: 2, Added: uint32(len(b.Added)), Duplicates: uint32(len(b.Duplicates))}
		verify := &recordpb.Event{
			Shard: record.OutcomeShard, Claims: shard.Added + shard.Duplicates,
			BadSignatures: uint32(len(b.BadSignatures)), Errors: uint32(len(b.Errors)),
		}
		if len(b.Errors) > 0 {
			verify.Reason = b.Errors[0].Reason
		}
		for _, e := range []*recordpb.Event{shard, verify} {
			e.Upload, e.Batch = upload, uint32(i+1)
			value := record.Encode(&recordpb.Events{Events: []*recordpb.Event{e, e}})
			for _, fn := range l.followers {
				fn(value)
			}
		}
	}
}

// outcomes decides the pairs of a chunk.
func outcomes(to *ingesttest.Store, c *recordpb.Chunk, s *recordpb.Seal, b *store.BatchResult) {
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
		claim := store.SignedHash{
			Upload: uuid.UUID(s.GetUpload()), Position: c.GetFirst() + uint32(i), Site: s.GetSite(),
			SignedAt: s.GetAcceptedMs(), Algorithm: "fake", Signature: append([]byte(nil), signature...),
			Case: letterCase(record.Bit(c.GetUpper(), i)),
		}
		owner, owned := to.Signed[hash]
		switch {
		case unparsed[i] != nil:
			b.Errors = append(b.Errors, store.Failure{Text: unparsed[i].GetText(), Reason: unparsed[i].GetReason()})
		case s.GetSite() == "nocert.example":
			b.Errors = append(b.Errors, store.Failure{Text: text, Reason: "no certificate: connection refused"})
		case n == 0 || signature[0] != 'g':
			b.BadSignatures = append(b.BadSignatures, text)
		case !owned:
			to.Signed[hash] = claim
			b.Added = append(b.Added, text)
		case owner.Upload == claim.Upload && owner.Position == claim.Position: // a replay is no duplicate (I5)
			b.Added = append(b.Added, text)
		default:
			b.Duplicates = append(b.Duplicates, text)
		}
	}
}

func letterCase(upper bool) store.LetterCase {
	if upper {
		return store.UpperCase
	}
	return store.LowerCase
}

// count returns how many records of each kind the log has.
func (l *fakeLog) count() (chunks, seals, aborts int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.records {
		if m.GetChunk() != nil {
			chunks++
		}
		if sealOf(m) != nil {
			seals++
		}
		if m.GetAbort() != nil {
			aborts++
		}
	}
	return chunks, seals, aborts
}
