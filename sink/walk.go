package sink

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/dedupe"
)

// Walking a shard's log: what was fetched meanwhile is a run, and a run is probed whole, looked up at once, resolved in order and queued
// record by record.

// maxRun is where a run stops growing: some 25,000 RSA claims. Larger ones would make lookups hardly cheaper, and the writer wait.
const maxRun = 8 << 20 // bytes

// item is one record of a run.
type item struct {
	next     int64 // offset after it
	size     int64 // bytes fetched
	block    *recordpb.Block
	outcomes *recordpb.Outcomes
}

// single reports whether the record is of single signings alone, and brings no certificates: a signature can be proved only with those.
func (it *item) single() bool {
	for _, c := range it.block.GetClaims() {
		if !c.GetSingle() {
			return false
		}
	}
	for _, o := range it.outcomes.GetOutcomes() {
		if !o.GetSingle() {
			return false
		}
	}
	return len(it.outcomes.GetCertificates()) == 0
}

// resolveAll resolves run after run until ctx ends.
func (s *shard) resolveAll(ctx context.Context) error {
	for {
		select {
		case messages := <-s.fetched:
			s.begin()
			s.take(ctx, messages)
		case <-ctx.Done():
			return ctx.Err()
		}
		s.takeWaiting(ctx)
		if err := s.finish(ctx); err != nil {
			return err
		}
	}
}

// begin begins a run.
func (s *shard) begin() {
	s.table.Confirm(int(s.confirmed.Swap(0)))
	s.run, s.ask = s.run[:0], s.ask[:0]
}

// takeWaiting adds what was fetched meanwhile to the run.
func (s *shard) takeWaiting(ctx context.Context) {
	size := int64(0)
	for _, it := range s.run {
		size += it.size
	}
	for size < maxRun {
		select {
		case messages := <-s.fetched:
			size += s.take(ctx, messages)
		default:
			return
		}
	}
}

// take decodes and probes messages and returns their bytes.
func (s *shard) take(ctx context.Context, messages []log.Message) (size int64) {
	for _, m := range messages {
		it := s.decode(ctx, m)
		for _, c := range it.block.GetClaims() {
			s.ask = s.table.Probe(c.GetHashes(), s.ask)
		}
		s.run = append(s.run, it)
		size += it.size
	}
	return size
}

// finish looks up what has to be, decides the run's claims and queues their rows.
func (s *shard) finish(ctx context.Context) error {
	stored, err := s.lookUp(ctx, s.ask)
	if err != nil {
		return err
	}
	found := 0
	for i := range s.run {
		found += s.hand(&s.run[i], stored)
	}
	s.announce(s.decided, nil)
	clear(s.decided)
	s.decided = s.decided[:0]
	s.metrics.lookedUp(len(s.ask)/dedupe.HashSize, found)
	clear(s.run) // the records are the queue's now
	s.queue.ready()
	s.weigh()
	return nil
}

// hand resolves one record's claims, queues all of its rows, and returns how many of the claims were to stored hashes.
func (s *shard) hand(it *item, stored ownersOf) (found int) {
	out := rows{patient: it.single() && s.queue.mayDecide(len(it.block.GetClaims()))}
	for _, c := range it.block.GetClaims() {
		verdicts, n := s.resolve(c, stored)
		found += n
		out.claims = append(out.claims, resolved{c, verdicts})
		out.results = append(out.results, claimsResult(c, s.id, verdicts))
		out.patient = out.patient && !s.table.MetUnconfirmed() // "duplicate" must not be said of a hash that can't be seen
	}
	out.addOutcomes(it.outcomes)
	out.addEvents()
	if out.patient {
		s.decided = append(s.decided, out.events...)
		out.events = nil
	}
	s.unstored.Add(1)
	s.held.Add(-it.size)
	s.queue.add(s, it.next, it.size, &out)
	return found
}

// resolve decides the claims of one part of a batch in their order.
func (s *shard) resolve(c *recordpb.Claims, stored ownersOf) (verdicts []dedupe.Verdict, found int) {
	n := len(c.GetHashes()) / dedupe.HashSize
	s.positions = s.positions[:0]
	for i := range n {
		s.positions = append(s.positions, record.Position(c.GetBatch(), record.Uint16(c.GetIndexes(), i)))
	}
	var lookup func([]byte) (dedupe.Owner, bool)
	if len(stored) > 0 {
		lookup = func(hash []byte) (dedupe.Owner, bool) {
			owner, ok := stored[[dedupe.HashSize]byte(hash)]
			if ok {
				found++
			}
			return dedupe.Owner(owner), ok
		}
	}
	verdicts = s.table.Resolve(c.GetHashes(), uuid.UUID(c.GetUpload()), s.positions, lookup, make([]dedupe.Verdict, 0, n))
	s.metrics.count(verdicts)
	return verdicts, found
}

// decode reads a record; one that can't be read, or that another shard should have got, becomes a dead letter and an item without rows.
func (s *shard) decode(ctx context.Context, m log.Message) item {
	it := item{next: m.Offset + 1, size: int64(len(m.Value))}
	v, err := record.DecodeVerified(m.Value)
	if err == nil {
		err = s.checkShard(v.GetBlock())
	}
	if err != nil {
		s.deadLetter(ctx, m.Offset, err)
		return it
	}
	it.block, it.outcomes = v.GetBlock(), v.GetOutcomes()
	return it
}

// checkShard refuses claims of another shard: they could give a hash a second owner (I4).
func (s *shard) checkShard(b *recordpb.Block) error {
	for _, c := range b.GetClaims() {
		for h := c.GetHashes(); len(h) > 0; h = h[dedupe.HashSize:] {
			if want := record.Shard(h, s.Shards); want != s.id {
				return fmt.Errorf("holds a hash of shard %d of %d: the writer of the record counts the partitions of topic %s differently",
					want, s.Shards, record.TopicVerified)
			}
		}
	}
	return nil
}

// deadLetter reports a record that is left out. It is best effort, and the log has the record in any case.
func (s *shard) deadLetter(ctx context.Context, offset int64, reason error) {
	s.metrics.deadLetters.Inc()
	s.Logger.Error("record left out", "topic", record.TopicVerified, "partition", s.id, "offset", offset, "err", reason)
	ctx, cancel := context.WithTimeout(ctx, s.SendTimeout)
	defer cancel()
	letter := record.DeadLetter(record.TopicVerified, s.id, offset, reason)
	if err := s.Send(ctx, record.TopicDeadLetter, 0, letter); err != nil {
		s.Logger.Warn("dead letter not written", "partition", s.id, "offset", offset, "err", err)
	}
}
