package sink

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"countersign/pipeline/log"
	"countersign/pipeline/record"
)

// One assignment of a shard. Two goroutines work for it: one fetches, and one walks what was fetched (walk.go). The
// stage's writer reports back what is stored.

// fetchesAhead is how many fetches a shard may be ahead of its walk, besides MaxPendingBytes.
const fetchesAhead = 64

// shard is what the goroutines of one assignment share.
type shard struct {
	*stage
	id      int
	fetched chan []log.Message // cap fetchesAhead; never closed

	// Each is added to by one goroutine and taken from by another.
	held      atomic.Int64 // bytes fetched and not yet queued
	confirmed atomic.Int64 // rows stored that the walk doesn't know of yet
	unstored  atomic.Int64 // records queued and not yet stored
	announced atomic.Int64 // hashes announced early and not yet stored

	idle chan struct{} // cap 1: unstored fell to 0; never closed

	mu        sync.Mutex
	partition Partition // Commit is called under mu, and only unless ended
	ended     bool      // guarded by mu
}

// handle owns partition p's shard until ctx ends, which gives nil, or fetching fails.
func (st *stage) handle(ctx context.Context, p Partition) error {
	s := &shard{
		stage: st, id: p.ID(), partition: p,
		fetched: make(chan []log.Message, fetchesAhead), idle: make(chan struct{}, 1),
	}
	defer s.end()
	w := &walker{shard: s}
	defer w.keepFilter()
	err := w.load(ctx, p)
	if err == nil {
		g, working := errgroup.WithContext(ctx)
		g.Go(func() error { return s.fetch(working, p) })
		g.Go(func() error { return w.walk(working) })
		err = g.Wait()
	}
	if ctx.Err() == nil {
		return fmt.Errorf("sink: shard %d: %w", s.id, err)
	}
	s.drain()
	return nil
}

// fetch reads ahead: what arrives while a run is being resolved is the next run.
func (s *shard) fetch(ctx context.Context, p Partition) error {
	for {
		if err := s.flushes.waitForRoom(ctx); err != nil {
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
		s.flushes.addPending(size)
		select {
		case s.fetched <- messages:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// mayAnnounce reports whether n more hashes of single signings may be announced before they are stored. Only the walk
// adds to those that were, so the answer holds until it does.
//
// The bound belongs to the assignment: when a shard is revoked, what it announced no longer counts here. The next owner
// walks the same records again, and so announces the same hashes first.
func (s *shard) mayAnnounce(n int) bool {
	return s.announced.Load()+int64(n) <= int64(record.MaxUnstoredSinglesOfShard(s.Shards))
}

// stored is called by the writer when everything that m marks is stored.
func (s *shard) stored(m mark) {
	s.confirmed.Add(int64(m.rows))
	s.announced.Add(int64(-m.announced))
	s.mu.Lock()
	if !s.ended {
		s.partition.Commit(m.next)
	}
	s.mu.Unlock()
	if s.unstored.Add(int64(-m.records)) == 0 {
		select {
		case s.idle <- struct{}{}:
		default:
		}
	}
}

// drain waits until what the shard queued is stored and committed. The partition is still this process's own: the group
// waits for handle to return.
func (s *shard) drain() {
	timeout := time.NewTimer(s.DrainTimeout)
	defer timeout.Stop()
	for s.unstored.Load() > 0 {
		select {
		case <-s.idle:
		case <-timeout.C:
			s.Logger.Warn("shard given up before everything was stored; it is walked again",
				"shard", s.id, "records", s.unstored.Load())
			return
		}
	}
}

// end keeps everything that is still queued from being committed. Its rows may be stored yet: late writes are harmless
// (I5).
func (s *shard) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.flushes.addPending(-s.held.Swap(0))
}
