package sink

// The stage: its workers, and what it does when the store fails.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"countersign/internal/pause"
	"countersign/internal/queue"
	"countersign/pipeline/record"
	"countersign/sink/store"
)

// maxLookups is how many lookups of many hashes run at once. Beside them there is one of few.
const maxLookups = 2

// maxLoads is how many shards' filters are read from the store at once. Reading is bound by the store's processor time;
// more at once would only make all of them late.
const maxLoads = 2

// tellEvery is how often the operator is told that a call goes on failing.
const tellEvery = time.Minute

// stage is a running sink: what all its shards share.
type stage struct {
	Config
	metrics       *metrics
	flushes       *flushQueue
	few, many     chan *lookup               // by how many hashes they name; unbuffered; never closed
	announcements *queue.Queue[announcement] // at most maxEvents
	written       chan struct{}              // closed by the writer when it ends
	loading       chan struct{}              // cap maxLoads; a token for each shard that reads its filter
	filters       *keeper                    // of shards that were revoked
}

// Run runs the stage until ctx ends, which gives nil, or Consume fails. Then the shards have DrainTimeout to store and
// commit what they have resolved, and drop the rest: the log has it, and whoever is assigned them next walks it again
// (I5). All goroutines have ended when Run returns.
func Run(ctx context.Context, c Config) error {
	c, err := c.withDefaults()
	if err != nil {
		return err
	}
	m, err := newMetrics(c.Registerer)
	if err != nil {
		return fmt.Errorf("sink: register metrics: %w", err)
	}
	st := &stage{
		Config: c, metrics: m,
		flushes:       newFlushQueue(c, m.pendingBytes.Set),
		few:           make(chan *lookup),
		many:          make(chan *lookup),
		announcements: queue.New[announcement](),
		written:       make(chan struct{}),
		loading:       make(chan struct{}, maxLoads),
		filters:       newKeeper(func(filter *kept) { m.filterBytes.Sub(float64(filter.bytes)) }),
	}
	defer st.filters.dropAll()
	// The workers outlive ctx until the shards have drained.
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var workers sync.WaitGroup
	workers.Go(func() { st.write(working) })
	sending, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	workers.Go(func() { st.publish(sending) })
	workers.Go(func() { st.answerLookups(working, st.few) })
	for range maxLookups {
		workers.Go(func() { st.answerLookups(working, st.many) })
	}
	err = c.Consume(ctx, st.handle)
	stop()
	defer time.AfterFunc(c.SendTimeout, giveUp).Stop() // of the last events
	workers.Wait()
	switch {
	case ctx.Err() != nil:
		return nil
	case err == nil:
		return fmt.Errorf("sink: the consumer of topic %s ended", record.TopicVerified)
	}
	return fmt.Errorf("sink: %w", err)
}

// retry calls do until it succeeds; the only error is that ctx ended. No failure of the store is taken as final: what
// the store refuses for good (a full disk, missing rights) is for an operator to mend, and dropping the rows would
// break I3.
func (st *stage) retry(ctx context.Context, what string, do func() error) error {
	var failing *failing
	var told time.Time // when the operator was told last
	defer func() { st.Health.ended(failing) }()
	for n := 0; ; n++ {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait := st.Backoff(n)
		st.metrics.retries.Inc()
		now := st.Clock()
		failing = st.Health.failed(failing, what, now, err)
		report := st.Logger.Warn
		if !errors.Is(err, store.ErrUnavailable) {
			report = st.Logger.Error
		}
		if n == 0 || now.Sub(told) >= tellEvery {
			told = now
			report("ClickHouse: "+what+" failed; it is tried again until it succeeds, nothing is lost",
				"error", err, "failures", n+1, "wait", wait)
		}
		if err := pause.For(ctx, wait); err != nil {
			return err
		}
	}
}
