package verify

// The reader takes in a partition's records in order. It gathers chunks into attempts, makes an upload of an attempt at
// its seal, and tells the coordinator of both the upload and the decision for it. It never waits for them.

import (
	"context"

	"github.com/google/uuid"

	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// maxAttempts bounds the attempts of a partition that are known of, whether their chunks are held or not.
const maxAttempts = 65536

// reader is the state of the goroutine that reads. No other goroutine uses it.
type reader struct {
	*partition
	attempts map[uuid.UUID]*attempt  // open ones, by attempt
	sealed   map[uuid.UUID][]*upload // without a decision, by upload
	recent   recentDecisions
}

func newReader(p *partition) *reader {
	return &reader{
		partition: p,
		attempts:  make(map[uuid.UUID]*attempt),
		sealed:    make(map[uuid.UUID][]*upload),
		recent:    newRecentDecisions(),
	}
}

// release gives the memory of open attempts back to the budget. All goroutines of the partition have ended.
func (r *reader) release() {
	for _, a := range r.attempts {
		a.drop()
	}
}

func (r *reader) run(ctx context.Context) error {
	for {
		messages, err := r.log.Fetch(ctx)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if err := r.handleRecord(ctx, m); err != nil {
				return err
			}
		}
		r.commit()
	}
}

// handleRecord works one record off. Its only errors are ctx's.
func (r *reader) handleRecord(ctx context.Context, m log.Message) error {
	r.countRead(len(m.Value))
	decoded, err := record.DecodeUpload(m.Value)
	if err != nil {
		r.stage.metrics.dead.Inc()
		r.logger.Error("a record can't be read; it goes to the dead letters", "offset", m.Offset, "error", err)
		r.progress.pass(m.Offset)
		return r.deadLetter(ctx, m.Offset, err)
	}
	switch kind := decoded.Kind.(type) {
	case *recordpb.Upload_Chunk:
		r.handleChunk(kind.Chunk, m.Offset)
		return ctx.Err()
	case *recordpb.Upload_Seal:
		r.handleSeal(kind.Seal, m.Offset, kind.Seal.FirstOffset)
		return ctx.Err()
	case *recordpb.Upload_Abort:
		r.forget(uuid.UUID(kind.Abort.Attempt))
	case *recordpb.Upload_Decisions:
		if err := r.handleDecisions(ctx, kind.Decisions, m.Offset); err != nil {
			return err
		}
	}
	r.progress.pass(m.Offset)
	return nil
}

func (r *reader) handleChunk(c *recordpb.Chunk, offset int64) {
	id := uuid.UUID(c.Attempt)
	a, known := r.attempts[id]
	if !known {
		a = r.newAttempt(c.Site, record.ClientOf(c))
		r.attempts[id] = a
	}
	a.touched = r.stage.cfg.Clock()
	a.records++
	if a.add(c, r.reserve) {
		a.verifyArrived()
		if who := (waiter{a.site, string(a.client)}); a.verification == nil && c.Seal == nil && len(a.chunks) == 1 {
			r.inbox.Put(func(c *coordinator) { c.prefetch(who) })
		}
	}
	if c.Seal != nil {
		r.handleSeal(c.Seal, offset, offset)
		return
	}
	r.progress.pass(offset)
}

// newAttempt makes an attempt. Where there are too many, it first forgets those that nobody writes to any more.
func (r *reader) newAttempt(site string, client []byte) *attempt {
	if len(r.attempts) >= maxAttempts {
		r.forgetOrphans()
	}
	return &attempt{stage: r.stage, site: site, client: client}
}

// reserve counts bytes against the memory limit, if there is room for them. To make room it forgets attempts that
// nobody writes to.
func (r *reader) reserve(bytes int64) bool {
	held, limit := &r.stage.held, r.stage.cfg.MemoryLimit
	if held.Add(bytes) <= limit {
		return true
	}
	r.forgetOrphans()
	if held.Load() <= limit {
		return true
	}
	held.Add(-bytes)
	return false
}

// forgetOrphans forgets the attempts that were not written to for Config.OrphanAge.
func (r *reader) forgetOrphans() {
	before := r.stage.cfg.Clock().Add(-r.stage.cfg.OrphanAge)
	for id, a := range r.attempts {
		if a.touched.Before(before) {
			r.forget(id)
		}
	}
}

func (r *reader) forget(id uuid.UUID) {
	if a, ok := r.attempts[id]; ok {
		a.drop()
		delete(r.attempts, id)
	}
}

// handleSeal makes an upload of an attempt, and hands it to the coordinator.
func (r *reader) handleSeal(s *recordpb.Seal, offset, from int64) {
	held := r.attempts[uuid.UUID(s.Attempt)]
	chunks := int64(0)
	if held != nil {
		chunks = held.records
		if from == offset {
			chunks-- // the chunk that carries the seal
		}
	}
	r.progress.open(offset, chunks)
	delete(r.attempts, uuid.UUID(s.Attempt))
	u := &upload{
		id: uuid.UUID(s.Upload), seal: s, offset: offset, from: from, seen: r.stage.cfg.Clock(), attempt: held,
	}
	if !held.complete(s.Count) {
		u.release()
		u.attempt = nil
	}
	r.register(u)
	if d := r.recent.get(u.id); d != nil {
		r.inbox.Put(func(c *coordinator) { c.decidedBy(u, d) })
		return
	}
	r.sealed[u.id] = append(r.sealed[u.id], u)
	r.inbox.Put(func(c *coordinator) { c.sealed(u) })
}

// handleDecisions tells the coordinator of uploads whose first decision this is. A decision for another upload changes
// nothing: either an earlier decision for it was read, or the upload was forwarded before, by the process that had the
// partition then. Its only errors are ctx's.
func (r *reader) handleDecisions(ctx context.Context, d *recordpb.Decisions, offset int64) error {
	chains, err := r.chainsOf(ctx, d, offset)
	if err != nil {
		return err
	}
	for _, one := range d.Decisions {
		id := uuid.UUID(one.Upload)
		if r.recent.get(id) != nil {
			continue
		}
		decision := r.recent.add(id, one, chains)
		for _, u := range r.sealed[id] {
			r.inbox.Put(func(c *coordinator) { c.decidedBy(u, decision) })
		}
		delete(r.sealed, id)
	}
	return nil
}
