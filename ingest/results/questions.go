package results

// What callers ask ClickHouse and the log is asked together: thousands of callers that wait are one query. Each kind of
// question has bounds of its own, so that one kind can't keep another from its answers. Keys of different ClickHouse
// shards are asked apart, so that one which is away fails no question about the others.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"countersign/internal/coalesce"
	"countersign/internal/pause"
	"countersign/pipeline/record"
	"countersign/sink/store"
)

// MaxWaiting is how many callers may wait for the answers to one kind of question of a ClickHouse shard. Further ones
// get ErrBusy at once.
const MaxWaiting = 4096

const (
	// callsAtOnce is how many queries of one kind are under way at most. Whether the stages have settled is asked by
	// one at a time.
	callsAtOnce = 4
	// callSpacing is how far apart queries about many keys begin while many questions come: fifty a second of a kind. A
	// look-up takes ClickHouse some 4 ms of a core, for one key or for a hundred.
	callSpacing = 20 * time.Millisecond
	// keysPerCall is how many hashes or uploads one query is about at most.
	keysPerCall = 10_000
	// progressPerCall is the same for the progress of uploads, of which each may have a row for each of a thousand
	// batches.
	progressPerCall = 1000
	// coSignersPerCall is the same for co-signers, of which each hash may have store.MaxCoSigners with their
	// signatures.
	coSignersPerCall = 100
	// listsAtOnce is how many lists of hashes ClickHouse is asked about at once. It takes a core for a good part of a
	// second over a long one.
	listsAtOnce = 2
	// followTimeout is how long a caller waits until the events up to its question were seen.
	followTimeout = 3 * time.Second
	// settleTimeout is how long a caller waits until the stages have stored what was in the log when it asked.
	settleTimeout = 5 * time.Second
	// settleEvery is how often the log is asked for that at most. It writes to the log, so callers who ask for uploads
	// that don't exist must not make it do so as often as they like.
	settleEvery = 500 * time.Millisecond
)

// Errors of questions, beside the store's own.
var (
	// ErrBusy says that MaxWaiting callers wait for an answer of this kind already.
	ErrBusy = errors.New("too many callers ask at once")
	// ErrNotCertain says that this process can't tell yet whether there is what was asked for.
	ErrNotCertain = errors.New("it is not certain yet whether that exists")
)

// batchKey names a batch of an upload.
type batchKey struct {
	upload uuid.UUID
	batch  uint32
}

// questions are all that callers ask.
type questions struct {
	hashes       *question[[32]byte, store.SignedHash]
	coSigners    *question[[32]byte, store.CoSigners]
	lists        *question[*[][32]byte, map[[32]byte]store.Signers] // each list is a question of its own
	uploads      *question[uuid.UUID, store.Upload]
	progress     *question[uuid.UUID, []store.BatchProgress]
	batches      *question[batchKey, store.BatchResult]
	certificates *question[[32]byte, store.Certificate]
	followed     *question[struct{}, struct{}] // were the events up to now seen?
	settled      *question[struct{}, struct{}] // have the stages stored what was in the log?
}

func newQuestions(c *Config, m *metrics) *questions {
	q := &questions{}
	timeout, places := c.StoreTimeout, c.Store.Places()
	q.hashes = ask(m, "hash", callsAtOnce, keysPerCall, timeout, c.Store.Hashes).apart(places, hashBytes)
	q.coSigners = ask(m, "cosigners", callsAtOnce, coSignersPerCall, timeout, c.Store.CoSigners).apart(places, hashBytes)
	list := func(ctx context.Context, hashes *[][32]byte) (map[[32]byte]store.Signers, bool, error) {
		found, err := c.Store.Signers(ctx, *hashes)
		return found, err == nil, err
	}
	q.lists = ask(m, "list", listsAtOnce, 1, timeout, each(list))
	q.uploads = ask(m, "upload", callsAtOnce, keysPerCall, timeout, c.Store.Uploads).apart(places, idBytes)
	q.progress = ask(m, "progress", callsAtOnce, progressPerCall, timeout, c.Store.ProgressOf).apart(places, idBytes)
	batch := func(ctx context.Context, k batchKey) (store.BatchResult, bool, error) {
		return c.Store.Batch(ctx, k.upload, k.batch)
	}
	q.batches = ask(m, "batch", callsAtOnce, 1, timeout, each(batch))
	q.certificates = ask(m, "certificate", callsAtOnce, 1, timeout, each(c.Store.Certificate))
	q.followed = ask(m, "events", callsAtOnce, 1, followTimeout, once(c.Follower.CaughtUp))
	settled := once(spaced(settleEvery, c.Follower.Settled))
	q.settled = ask(m, "stages", 1, 1, settleTimeout+settleEvery, settled)
	return q
}

// close ends what is under way. No caller asks any more.
func (q *questions) close() {
	q.hashes.close()
	q.coSigners.close()
	q.lists.close()
	q.uploads.close()
	q.progress.close()
	q.batches.close()
	q.certificates.close()
	q.followed.close()
	q.settled.close()
}

// question is one kind of question.
type question[K comparable, V any] struct {
	cfg            coalesce.Config[K, V]
	groups         []*coalesce.Group[K, V] // one, or one for each ClickHouse shard
	bytes          func(*K) []byte         // the key's, which choose the ClickHouse shard; nil where there is one group
	asked, refused prometheus.Counter
}

func ask[K comparable, V any](
	m *metrics, kind string, calls, keys int, timeout time.Duration,
	call func(context.Context, []K) (map[K]V, error),
) *question[K, V] {
	asked := m.calls.WithLabelValues(kind)
	spacing := time.Duration(0)
	if keys > 1 {
		spacing = callSpacing
	}
	cfg := coalesce.Config[K, V]{
		Ask: func(ctx context.Context, keys []K) (map[K]V, error) {
			asked.Inc()
			return call(ctx, keys)
		},
		MaxKeys: keys, MaxConcurrent: calls, MaxWaiting: MaxWaiting, Timeout: timeout, Spacing: spacing,
	}
	q := &question[K, V]{
		cfg: cfg, groups: []*coalesce.Group[K, V]{coalesce.New(cfg)},
		asked: m.questions.WithLabelValues(kind), refused: m.refused.WithLabelValues(kind),
	}
	m.waiting[kind] = q.waiting
	return q
}

// apart has keys of different ClickHouse shards asked apart. It is called before the first question.
func (q *question[K, V]) apart(places int, bytes func(*K) []byte) *question[K, V] {
	q.bytes = bytes
	for len(q.groups) < places {
		q.groups = append(q.groups, coalesce.New(q.cfg))
	}
	return q
}

func hashBytes(hash *[32]byte) []byte { return hash[:] }

func idBytes(id *uuid.UUID) []byte { return id[:] }

func (q *question[K, V]) waiting() (n int) {
	for _, g := range q.groups {
		n += g.Waiting()
	}
	return n
}

func (q *question[K, V]) close() {
	for _, g := range q.groups {
		g.Close()
	}
}

// accountKey is where a context says who asks.
type accountKey struct{}

// AskedBy returns a context whose questions are asked for an account. Where not all questions can be asked at once,
// accounts have turns. Questions of contexts that name none are of one account.
func AskedBy(ctx context.Context, account string) context.Context {
	return context.WithValue(ctx, accountKey{}, account)
}

// get asks about one key. The answer is from a query that began after the call.
func (q *question[K, V]) get(ctx context.Context, key K) (value V, found bool, err error) {
	q.asked.Inc()
	account, _ := ctx.Value(accountKey{}).(string)
	group := q.groups[0]
	if len(q.groups) > 1 {
		group = q.groups[record.Shard(q.bytes(&key), len(q.groups))]
	}
	value, found, err = group.Get(ctx, account, key)
	if errors.Is(err, coalesce.ErrFull) {
		q.refused.Inc()
		err = fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return value, found, err
}

// each asks about one key at a time.
func each[K comparable, V any](
	call func(context.Context, K) (V, bool, error),
) func(context.Context, []K) (map[K]V, error) {
	return func(ctx context.Context, keys []K) (map[K]V, error) {
		found := make(map[K]V, len(keys))
		for _, k := range keys {
			v, ok, err := call(ctx, k)
			if err != nil {
				return nil, err
			}
			if ok {
				found[k] = v
			}
		}
		return found, nil
	}
}

// once asks a question that has no key, and no answer but its error.
func once(call func(context.Context) error) func(context.Context, []struct{}) (map[struct{}]struct{}, error) {
	return func(ctx context.Context, _ []struct{}) (map[struct{}]struct{}, error) { return nil, call(ctx) }
}

// spaced begins a call so long after the last one began, at least. It is for one caller at a time.
func spaced(every time.Duration, call func(context.Context) error) func(context.Context) error {
	var last time.Time
	return func(ctx context.Context) error {
		if err := pause.For(ctx, every-time.Since(last)); err != nil {
			return err
		}
		last = time.Now()
		return call(ctx)
	}
}

// caughtUp returns once this process has seen every event that was there when it was called.
func (t *Tracker) caughtUp(ctx context.Context) error {
	return certain(t.questions.followed.get(ctx, struct{}{}))
}

// settled returns once the store has what every upload came to whose seal was in the log when it was called.
func (t *Tracker) settled(ctx context.Context) error {
	return certain(t.questions.settled.get(ctx, struct{}{}))
}

func certain(_ struct{}, _ bool, err error) error {
	if err == nil || errors.Is(err, ErrBusy) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotCertain, err)
}
