package verify

// One assigned partition of topic uploads, from assignment to revocation. Three goroutines share it: the loop reads records
// in order and owns what is known of attempts and seals; the announcer appends decisions; the forwarder sends decided
// uploads on. Deciders, one per sealed upload, come and go between them. None of them waits for the loop, and the loop waits only
// for workers and deciders, which need nothing further from the log: so reading can't deadlock on what is yet to be read.

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// maxRecent bounds the decisions remembered for seals of an upload that was decided before: retries with an Idempotency-Key that
// were in flight at once.
const maxRecent = 4096

// maxAttempts bounds the attempts known of, held or not, in a partition.
const maxAttempts = 65536

type partition struct {
	stage    *Stage
	log      Partition
	logger   *slog.Logger
	progress progress

	// Of the loop.
	attempts map[uuid.UUID]*attempt
	sealed   map[uuid.UUID][]*upload // by upload, until a decision for it is read
	recent   *recentDecisions

	deciding  chan struct{} // holds a token for every decider
	announced chan announcement
	decided   *queue
	group     *errgroup.Group
}

// upload is a sealed attempt on its way through the stage.
type upload struct {
	id      uuid.UUID
	seal    *recordpb.Seal
	offset  int64    // of the seal
	from    int64    // of the first chunk
	attempt *attempt // nil when nothing of it is held

	cancel  context.CancelFunc // ends the decider; nil when there is none
	settled chan struct{}      // closed when the decider has ended, which is when found may be read
	found   *judgement         // what the decider found, nil if it didn't get that far

	decision *decision // set by the loop when it reads it
}

func (s *Stage) handle(ctx context.Context, log Partition) error {
	g, working := errgroup.WithContext(ctx)
	p := &partition{
		stage:     s,
		log:       log,
		logger:    s.cfg.Logger.With("topic", record.TopicUploads, "partition", log.ID()),
		progress:  progress{next: log.Start()},
		attempts:  make(map[uuid.UUID]*attempt),
		sealed:    make(map[uuid.UUID][]*upload),
		recent:    newRecentDecisions(maxRecent),
		deciding:  make(chan struct{}, s.cfg.MaxDeciding),
		announced: make(chan announcement, s.cfg.MaxDeciding),
		decided:   newQueue(),
		group:     g,
	}
	defer p.releaseAll()
	g.Go(func() error { return p.loop(working) })
	g.Go(func() error { return p.announce(working) })
	g.Go(func() error { return p.forward(working) })
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// releaseAll gives the memory of everything unfinished back to the budget. All goroutines have ended.
func (p *partition) releaseAll() {
	for _, a := range p.attempts {
		a.drop()
	}
	for _, uploads := range p.sealed {
		for _, u := range uploads {
			u.release()
		}
	}
	for _, u := range p.decided.take() {
		u.release()
	}
}

func (u *upload) release() {
	if u.attempt != nil {
		u.attempt.drop()
	}
}

func (p *partition) loop(ctx context.Context) error {
	for {
		messages, err := p.log.Fetch(ctx)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if err := p.handleRecord(ctx, m); err != nil {
				return err
			}
		}
		p.log.Commit(p.progress.prefix())
	}
}

// handleRecord takes one record in. Its only errors are ctx's.
func (p *partition) handleRecord(ctx context.Context, m log.Message) error {
	r, err := record.DecodeUpload(m.Value)
	if err != nil {
		p.stage.metrics.dead.Inc()
		p.logger.Error("a record can't be read; it goes to the dead letters", "offset", m.Offset, "error", err)
		p.progress.see(m.Offset, false)
		return p.deadLetter(ctx, m.Offset, err)
	}
	switch kind := r.Kind.(type) {
	case *recordpb.Upload_Chunk:
		return p.handleChunk(ctx, kind.Chunk, m.Offset)
	case *recordpb.Upload_Seal:
		return p.handleSeal(ctx, kind.Seal, m.Offset, kind.Seal.FirstOffset)
	case *recordpb.Upload_Abort:
		p.forget(uuid.UUID(kind.Abort.Attempt))
	case *recordpb.Upload_Decisions:
		p.handleDecisions(kind.Decisions)
	}
	p.progress.see(m.Offset, false)
	return nil
}

func (p *partition) handleChunk(ctx context.Context, c *recordpb.Chunk, offset int64) error {
	id := uuid.UUID(c.Attempt)
	a, known := p.attempts[id]
	if !known {
		a = p.newAttempt(c.Site)
		p.attempts[id] = a
	}
	a.touched = p.stage.cfg.Clock()
	if next := (&piece{chunk: c}); a.add(next, p.reserve) {
		if len(a.pieces) == 1 {
			a.pending.Add(1)
			p.group.Go(func() error { p.stage.resolve(ctx, a); return nil })
		}
		p.stage.check(ctx, a, next)
	}
	if c.Seal != nil {
		return p.handleSeal(ctx, c.Seal, offset, offset)
	}
	p.progress.see(offset, false)
	return ctx.Err()
}

// newAttempt starts an attempt, forgetting one that nobody writes to any more where there are too many.
func (p *partition) newAttempt(site string) *attempt {
	if len(p.attempts) >= maxAttempts {
		p.forgetOrphans()
	}
	return &attempt{site: site, release: func(n int64) { p.stage.held.Add(-n) }}
}

// reserve takes bytes from the budget, forgetting orphans for it if it must.
func (p *partition) reserve(bytes int64) bool {
	held, limit := &p.stage.held, p.stage.cfg.MemoryLimit
	if held.Add(bytes) <= limit {
		return true
	}
	p.forgetOrphans()
	if held.Load() <= limit {
		return true
	}
	held.Add(-bytes)
	return false
}

// forgetOrphans forgets the attempts that were not written to for OrphanAge.
func (p *partition) forgetOrphans() {
	before := p.stage.cfg.Clock().Add(-p.stage.cfg.OrphanAge)
	for id, a := range p.attempts {
		if a.touched.Before(before) {
			p.forget(id)
		}
	}
}

func (p *partition) forget(id uuid.UUID) {
	if a, ok := p.attempts[id]; ok {
		a.drop()
		delete(p.attempts, id)
	}
}

// handleSeal makes an upload of an attempt, and starts its decider unless its decision is known.
func (p *partition) handleSeal(ctx context.Context, s *recordpb.Seal, offset, from int64) error {
	p.progress.see(offset, true)
	attempt := p.attempts[uuid.UUID(s.Attempt)]
	delete(p.attempts, uuid.UUID(s.Attempt))
	u := &upload{id: uuid.UUID(s.Upload), seal: s, offset: offset, from: from, attempt: attempt, settled: make(chan struct{})}
	if !attempt.complete(s.Count) {
		u.release()
		u.attempt = nil
	}
	if d := p.recent.get(u.id); d != nil {
		close(u.settled)
		u.decision = d
		p.decided.put(u)
		return nil
	}
	select {
	case p.deciding <- struct{}{}:
	case <-ctx.Done():
		u.release()
		return ctx.Err()
	}
	p.sealed[u.id] = append(p.sealed[u.id], u)
	decideCtx, cancel := context.WithCancel(ctx)
	u.cancel = cancel
	p.group.Go(func() error {
		defer cancel()
		defer close(u.settled)
		p.decide(decideCtx, u)
		return nil
	})
	return nil
}

// handleDecisions hands the uploads whose first decision this is to the forwarder. Others were forwarded before, by whoever had
// the partition then, or are known by an earlier decision.
func (p *partition) handleDecisions(d *recordpb.Decisions) {
	for _, one := range d.Decisions {
		id := uuid.UUID(one.Upload)
		if p.recent.get(id) != nil {
			continue
		}
		decided := newDecision(one, d.Chains, p.recent.share)
		p.recent.put(id, decided)
		for _, u := range p.sealed[id] {
			u.cancel()
			u.decision = decided
			p.decided.put(u)
		}
		delete(p.sealed, id)
	}
}

// deadLetter tells of a record that can't be used, and returns when the log has that.
func (p *partition) deadLetter(ctx context.Context, offset int64, reason error) error {
	return p.send(ctx, record.TopicDeadLetter, 0, record.DeadLetter(record.TopicUploads, p.log.ID(), offset, reason))
}

// send appends one record and waits for its acknowledgement, as often as it takes. Its only errors are ctx's.
func (p *partition) send(ctx context.Context, topic string, partition int, value []byte) error {
	for {
		ack, err := p.stage.cfg.Producer.Send(ctx, topic, partition, slices.Clone(value))
		if err == nil {
			_, err = ack.Wait(ctx)
		}
		if err == nil {
			return nil
		}
		if err := p.pause(ctx, fmt.Errorf("appending to topic %s: %w", topic, err)); err != nil {
			return err
		}
	}
}

// pause logs why the log has to be asked again and waits a little.
func (p *partition) pause(ctx context.Context, why error) error {
	if ctx.Err() == nil {
		p.logger.Warn("something that an upload waits for failed; trying again", "error", why)
	}
	select {
	case <-time.After(p.stage.cfg.Retry):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
