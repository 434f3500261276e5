package sink

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/dedupe"
)

// fetchesAhead is how many fetches a shard may be ahead of its resolving, besides MaxPendingBytes.
const fetchesAhead = 64

// shard is one assignment of a shard: one goroutine fetches, one resolves (walk.go), and the writer reports back through stored.
type shard struct {
	*stage
	id      int
	fetched chan []log.Message // cap fetchesAhead; never closed

	// Of the goroutine that resolves.
	table     *dedupe.Table
	run       []item
	ask       []byte
	positions []uint32
	decided   []*recordpb.Event // of the run
	bytes     int               // of table, as the gauge counts them

	held      atomic.Int64  // bytes fetched and not yet queued
	confirmed atomic.Int64  // rows stored that the table wasn't told of
	unstored  atomic.Int64  // records queued and not yet stored
	idle      chan struct{} // cap 1: unstored fell to 0

	mu        sync.Mutex
	partition Partition // Commit only under mu, and only unless ended
	ended     bool
}

// handle owns partition p's shard until ctx ends, which gives nil, or fetching fails.
func (st *stage) handle(ctx context.Context, p Partition) error {
	s := &shard{stage: st, id: p.ID(), partition: p, fetched: make(chan []log.Message, fetchesAhead), idle: make(chan struct{}, 1)}
	defer s.end()
	err := s.load(ctx)
	if err == nil {
		g, working := errgroup.WithContext(ctx)
		g.Go(func() error { return s.fetch(working, p) })
		g.Go(func() error { return s.resolveAll(working) })
		err = g.Wait()
	}
	if ctx.Err() == nil {
		return fmt.Errorf("sink: shard %d: %w", s.id, err)
	}
	s.drain()
	return nil
}

// load builds the filter. The committed offset was read before, so every row of the records below it is in what the scan finds;
// the rows of later records, which an older owner may be writing meanwhile, are decided anew by the walk, with the same result.
func (s *shard) load(ctx context.Context) error {
	select {
	case s.loading <- struct{}{}:
		defer func() { <-s.loading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	start := s.Clock()
	var key [16]byte
	if _, err := io.ReadFull(s.Rand, key[:]); err != nil {
		return fmt.Errorf("draw the filter's key: %w", err)
	}
	var loaded int
	err := s.retry(ctx, fmt.Sprintf("reading the hashes of shard %d", s.id), func() error {
		count, err := s.Store.CountHashes(ctx, s.id, s.Shards)
		if err != nil {
			return err
		}
		loaded = 0
		s.table = dedupe.New(dedupe.Config{ExpectedHashes: count, Key: key, Recent: max(0, s.RecentRows) / s.Shards})
		return s.Store.ScanHashes(ctx, s.id, s.Shards, func(hashes []byte) error {
			loaded += len(hashes) / dedupe.HashSize
			s.table.Load(hashes)
			return ctx.Err()
		})
	})
	if err != nil {
		return err
	}
	s.weigh()
	s.Logger.Info("shard assigned", "shard", s.id, "offset", s.partition.Start(), "hashes", loaded,
		"filter_bytes", s.bytes, "took", s.Clock().Sub(start))
	return nil
}

// weigh brings the gauge of the table's memory up to date.
func (s *shard) weigh() {
	now := s.table.Bytes()
	s.metrics.filterBytes.Add(float64(now - s.bytes))
	s.bytes = now
}

// fetch reads ahead: what arrives while a run is being resolved is the next run.
func (s *shard) fetch(ctx context.Context, p Partition) error {
	for {
		if err := s.queue.room(ctx); err != nil {
			return err
		}
		messages, err := p.Fetch(ctx)
		if err != nil {
			return fmt.Errorf("fetch from topic %s: %w", record.TopicVerified, err)
		}
		size := int64(0)
		for i := range messages {
			size += int64(len(messages[i].Value))
		}
		s.held.Add(size)
		s.queue.hold(size)
		select {
		case s.fetched <- messages:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stored is called by the writer when everything that m marks is stored.
func (s *shard) stored(m mark) {
	s.confirmed.Add(int64(m.rows))
	s.mu.Lock()
	if !s.ended {
		s.partition.Commit(m.next)
	}
	s.mu.Unlock()
	if s.unstored.Add(int64(-m.count)) == 0 {
		select {
		case s.idle <- struct{}{}:
		default:
		}
	}
}

// drain waits until what the shard queued is stored and committed. The partition is still ours: the group waits for handle to return.
func (s *shard) drain() {
	timeout := time.NewTimer(s.DrainTimeout)
	defer timeout.Stop()
	for s.unstored.Load() > 0 {
		select {
		case <-s.idle:
		case <-timeout.C:
			s.Logger.Warn("shard given up before everything was stored; it is walked again", "shard", s.id, "records", s.unstored.Load())
			return
		}
	}
}

// end keeps everything that is still queued from being committed. Its rows may be stored yet: late writes are harmless (I5).
func (s *shard) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.queue.hold(-s.held.Swap(0))
	s.metrics.filterBytes.Sub(float64(s.bytes))
}
