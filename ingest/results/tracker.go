package results

// The tracker puts the parts together, and feeds them with topic events.

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"countersign/internal/fifo"
	"countersign/internal/pause"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

// Config is what a Tracker needs. Every field is required.
type Config struct {
	Store Store
	// Follow calls ready, on its caller's goroutine, once it will see every later record of topic events, then fn with
	// each, until ctx is done or it fails.
	Follow func(ctx context.Context, ready func(), fn func(value []byte)) error
	// Poll is how often a call that waits asks the store when no event came.
	Poll time.Duration
	// StoreTimeout bounds one read of the store on behalf of a call that waits. Other reads are bounded by their
	// context.
	StoreTimeout time.Duration
	// Retention is how long after its acceptance an upload's results are given out.
	Retention time.Duration
	Clock     func() time.Time
	Logger    *slog.Logger
}

// Store is ClickHouse: results are read there, rows of uploads are stored there. Errors that wrap store.ErrUnavailable
// say that asking again later may help. Methods may be called from any goroutine.
type Store interface {
	Upload(ctx context.Context, id uuid.UUID) (store.Upload, bool, error)
	Progress(ctx context.Context, id uuid.UUID) ([]store.BatchProgress, error)
	Batch(ctx context.Context, id uuid.UUID, batch uint32) (store.BatchResult, bool, error)
	Hash(ctx context.Context, hash [32]byte) (store.SignedHash, bool, error)
	InsertUploads(ctx context.Context, rows []store.Upload) error
}

// Tracker knows what became of uploads, as far as callers may ask. Its methods may be called from any goroutine.
type Tracker struct {
	cfg      Config
	recorder *recorder
	hub      hub
	// uploads are those that polls may ask for.
	uploads *fifo.Map[uuid.UUID, *remembered]
	// announced are single signings whose rows may not be stored yet, some 500 bytes each. The sinks leave no more than
	// record.MaxUnstoredSingles unstored, so a caller whose answer was "signed OK" finds the hash here or in the store.
	announced *fifo.Map[[32]byte, store.SignedHash]
	asking    chan struct{} // a token for each call that asks the store because no event came; capacity maxAsking
	following atomic.Bool
}

// New makes a tracker. It is of use once Run runs.
func New(c Config) *Tracker {
	return &Tracker{
		cfg: c, recorder: newRecorder(c.Store.InsertUploads, c.Logger), hub: hub{watches: make(map[uuid.UUID][]*Watch)},
		uploads:   fifo.New[uuid.UUID, *remembered](maxRemembered),
		announced: fifo.New[[32]byte, store.SignedHash](record.MaxUnstoredSingles),
		asking:    make(chan struct{}, maxAsking),
	}
}

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
	ready := func() { t.following.Store(true); failures = 0 }
	for ctx.Err() == nil {
		err := t.cfg.Follow(ctx, ready, func(value []byte) {
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
	for _, e := range m.GetEvents() { // before any call that waits is answered: its caller may ask for the hash next
		upload := uuid.UUID(e.GetUpload())
		if s := e.GetSigned(); s != nil {
			t.announced.Put([32]byte(s.GetHash()), signedHash(upload, s))
		}
		if u, ok := t.uploads.Get(upload); ok {
			u.count(e)
		}
	}
	t.hub.count(m.GetEvents())
	return nil
}

// signedHash is the row that will be stored. It stays right: a hash has one owner for ever (I4).
func signedHash(upload uuid.UUID, s *recordpb.Signed) store.SignedHash {
	return store.SignedHash{
		Upload: upload, Position: s.GetPosition(), Site: s.GetSite(), SignedAt: s.GetAcceptedMs(),
		Algorithm: s.GetAlgorithm(), Signature: s.GetSignature(), Certificate: [32]byte(s.GetCertificate()),
	}
}
