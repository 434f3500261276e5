package results

// The tracker puts the parts together, and feeds them with topic events.

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"countersign/internal/fifo"
	"countersign/internal/pause"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

// Config is what a Tracker needs. Every field but Alone and Registerer is required.
type Config struct {
	Store    Store
	Follower Follower
	// Shards is the number of shards that hashes are divided among, as the sinks see it.
	Shards int
	// Alone says that no other process answers callers: whatever they were told, they were told here.
	Alone bool
	// Poll is how often a call that waits asks the store when no event came.
	Poll time.Duration
	// StoreTimeout bounds one question to the store. A caller waits as long as its context allows.
	StoreTimeout time.Duration
	// Retention is how long after its acceptance an upload's results are given out.
	Retention  time.Duration
	Clock      func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are not registered
}

// Follower is the log, as far as answers need it. Methods may be called from any goroutine.
type Follower interface {
	// Follow calls ready, on its caller's goroutine, once it will see every later record of topic events, then fn with
	// each, until ctx is done or it fails.
	Follow(ctx context.Context, ready func(), fn func(value []byte)) error
	// CaughtUp returns nil once Follow has given its fn every record of topic events that was acknowledged before the
	// call.
	CaughtUp(ctx context.Context) error
	// Settled returns nil once what every seal came to that any process wrote before the call is stored. A seal of
	// which its writer doesn't know whether it is in the log is settled, too: either it is stored, or it never will be.
	Settled(ctx context.Context) error
}

// Store is ClickHouse: results are read there, rows of uploads are stored there. Errors that wrap store.ErrUnavailable
// say that asking again later may help. Methods may be called from any goroutine.
type Store interface {
	// Upload is for those who accept uploads. It must not wait behind the other reads.
	Upload(ctx context.Context, id uuid.UUID) (store.Upload, bool, error)
	Uploads(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]store.Upload, error)
	ProgressOf(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID][]store.BatchProgress, error)
	Batch(ctx context.Context, id uuid.UUID, batch uint32) (store.BatchResult, bool, error)
	Hashes(ctx context.Context, hashes [][32]byte) (map[[32]byte]store.SignedHash, error)
	// CoSigners returns which sites beside the owner's signed the hashes.
	CoSigners(ctx context.Context, hashes [][32]byte) (map[[32]byte]store.CoSigners, error)
	// Certificate returns the chain whose leaf has this SHA-256, and whether it was ever seen.
	Certificate(ctx context.Context, fingerprint [32]byte) (store.Certificate, bool, error)
	InsertUploads(ctx context.Context, rows []store.Upload) error
}

// maxAccepted is how many uploads that any process has accepted are remembered, some 200 bytes each, for those who ask
// before their rows are stored. Whoever asks for an older one while its row is not stored is told that it isn't known
// yet.
const maxAccepted = 1 << 16

// Tracker knows what became of uploads, as far as callers may ask. Its methods may be called from any goroutine.
type Tracker struct {
	cfg       Config
	questions *questions
	recorder  *recorder
	hub       hub
	// uploads are those that polls may ask for.
	uploads *fifo.Map[uuid.UUID, *remembered]
	// accepted are uploads of which an event says that they are accepted, by any process.
	accepted  *fifo.Map[uuid.UUID, store.Upload]
	announced announced
	asking    chan struct{} // a token for each call that asks the store because no event came; capacity maxAsking
	following atomic.Bool
	followed  atomic.Int64 // how often following has begun: events before may have been missed
	settledIn atomic.Int64 // the value of followed of which it is known that what the missed events said is stored
}

// New makes a tracker. It is of use once Run runs. The error is the Registerer's.
func New(c Config) (*Tracker, error) {
	m := newMetrics()
	t := &Tracker{
		cfg: c, questions: newQuestions(&c, m), recorder: newRecorder(c.Store.InsertUploads, c.Logger),
		hub:     hub{watches: make(map[uuid.UUID][]*Watch)},
		uploads: fifo.New[uuid.UUID, *remembered](maxRemembered), accepted: fifo.New[uuid.UUID, store.Upload](maxAccepted),
		announced: newAnnounced(c.Shards), asking: make(chan struct{}, maxAsking),
	}
	return t, m.register(c.Registerer)
}

// Close ends what is asked for callers who gave up. It is called after the last call of another method returned.
func (t *Tracker) Close() { t.questions.close() }

// Run follows topic events and stores rows of uploads until ctx is done. Then it tries once more, for two seconds at
// most, to store what is left.
func (t *Tracker) Run(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { t.follow(ctx) })
	both.Go(func() { t.recorder.run(ctx) })
	both.Wait()
}

// Following reports whether events arrive.
func (t *Tracker) Following() bool { return t.following.Load() }

// followRetries says when following is tried again after it failed.
var followRetries = pause.Backoff{First: 100 * time.Millisecond, Most: 5 * time.Second}

func (t *Tracker) follow(ctx context.Context) {
	failures := 0
	ready := func() { t.followed.Add(1); t.following.Store(true); failures = 0 }
	for ctx.Err() == nil {
		err := t.cfg.Follower.Follow(ctx, ready, func(value []byte) {
			if err := t.count(value); err != nil {
				t.cfg.Logger.Warn("an event can't be read", "error", err)
			}
		})
		t.following.Store(false)
		if ctx.Err() != nil {
			return
		}
		again := followRetries.After(failures)
		failures++
		t.cfg.Logger.Warn("following topic events stopped: trying again", "in", again, "error", err)
		_ = pause.For(ctx, again) // ended early, the loop sees that ctx is done
	}
}

// count adds one record of topic events. A record that can't be decoded is left out: callers that wait for it ask the
// store.
func (t *Tracker) count(value []byte) error {
	m, err := record.DecodeEvents(value)
	if err != nil {
		return err
	}
	for _, a := range m.GetAccepted() {
		row := rowOfAccepted(a)
		t.accepted.Put(row.ID, row)
	}
	for _, e := range m.GetEvents() { // before any call that waits is answered: its caller may ask for the hash next
		upload := uuid.UUID(e.GetUpload())
		if s := e.GetSigned(); s != nil {
			t.announced.put([32]byte(s.GetHash()), signedHash(upload, s))
		}
		if u, ok := t.uploads.Get(upload); ok {
			u.count(e)
		}
	}
	t.hub.count(m.GetEvents())
	return nil
}

// AcceptedEvent is the record of topic events that tells every process of an accepted upload.
func AcceptedEvent(row store.Upload) []byte {
	return record.Encode(&recordpb.Events{Accepted: []*recordpb.Accepted{{
		Upload: row.ID[:], Site: row.Site, Count: row.Count, AcceptedMs: row.AcceptedAt,
	}}})
}

func rowOfAccepted(a *recordpb.Accepted) store.Upload {
	return store.Upload{
		ID: uuid.UUID(a.GetUpload()), Site: a.GetSite(), Count: a.GetCount(), AcceptedAt: a.GetAcceptedMs(),
	}
}

// signedHash is the row that will be stored. It stays right: a hash has one owner for ever (I4).
func signedHash(upload uuid.UUID, s *recordpb.Signed) store.SignedHash {
	letters := store.LowerCase
	if s.GetUpper() {
		letters = store.UpperCase
	}
	return store.SignedHash{
		Upload: upload, Position: s.GetPosition(), Site: s.GetSite(), SignedAt: s.GetAcceptedMs(),
		Algorithm: s.GetAlgorithm(), Signature: s.GetSignature(), Certificate: [32]byte(s.GetCertificate()), Case: letters,
	}
}
