package verify

// The reader takes in a partition's records in order. It gathers chunks into attempts, makes an upload of an attempt at
// its seal, and hands the upload to the forwarder when it reads the upload's decision.

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
	sealed   map[uuid.UUID][]*upload // by upload, until a decision for it is read
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

// release gives the memory of everything unfinished back to the budget. All goroutines of the partition have ended.
func (r *reader) release() {
	for _, a := range r.attempts {
		a.drop()
	}
	for _, uploads := range r.sealed {
		for _, u := range uploads {
			u.release()
		}
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
		r.log.Commit(r.progress.committable())
	}
}

// handleRecord works one record off. Its only errors are ctx's.
func (r *reader) handleRecord(ctx context.Context, m log.Message) error {
	decoded, err := record.DecodeUpload(m.Value)
	if err != nil {
		r.stage.metrics.dead.Inc()
		r.logger.Error("a record can't be read; it goes to the dead letters", "offset", m.Offset, "error", err)
		r.progress.pass(m.Offset)
		return r.deadLetter(ctx, m.Offset, err)
	}
	switch kind := decoded.Kind.(type) {
	case *recordpb.Upload_Chunk:
		return r.handleChunk(ctx, kind.Chunk, m.Offset)
	case *recordpb.Upload_Seal:
		return r.handleSeal(ctx, kind.Seal, m.Offset, kind.Seal.FirstOffset)
	case *recordpb.Upload_Abort:
		r.forget(uuid.UUID(kind.Abort.Attempt))
	case *recordpb.Upload_Decisions:
		r.handleDecisions(kind.Decisions)
	}
	r.progress.pass(m.Offset)
	return nil
}

func (r *reader) handleChunk(ctx context.Context, c *recordpb.Chunk, offset int64) error {
	id := uuid.UUID(c.Attempt)
	a, known := r.attempts[id]
	if !known {
		a = r.newAttempt(c.Site)
		r.attempts[id] = a
	}
	a.touched = r.stage.cfg.Clock()
	if next := (&piece{chunk: c}); a.add(next, r.reserve) {
		if len(a.pieces) == 1 {
			a.pending.Add(1)
			r.group.Go(func() error { r.stage.fetchKeys(ctx, a); return nil })
		}
		r.stage.verifyOnArrival(ctx, a, next)
	}
	if c.Seal != nil {
		return r.handleSeal(ctx, c.Seal, offset, offset)
	}
	r.progress.pass(offset)
	return ctx.Err()
}

// newAttempt makes an attempt. Where there are too many, it first forgets those that nobody writes to any more.
func (r *reader) newAttempt(site string) *attempt {
	if len(r.attempts) >= maxAttempts {
		r.forgetOrphans()
	}
	return &attempt{site: site, release: func(n int64) { r.stage.held.Add(-n) }}
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

// handleSeal makes an upload of an attempt. It starts a decider for it, unless the upload's decision is known.
func (r *reader) handleSeal(ctx context.Context, s *recordpb.Seal, offset, from int64) error {
	r.progress.open(offset)
	held := r.attempts[uuid.UUID(s.Attempt)]
	delete(r.attempts, uuid.UUID(s.Attempt))
	u := &upload{
		id: uuid.UUID(s.Upload), seal: s, offset: offset, from: from,
		attempt: held, deciderDone: make(chan struct{}),
	}
	if !held.complete(s.Count) {
		u.release()
		u.attempt = nil
	}
	if d := r.recent.get(u.id); d != nil {
		close(u.deciderDone)
		u.decision = d
		r.decided.Put(u)
		return nil
	}
	return r.startDecider(ctx, u)
}

// startDecider waits until another decider may run, and starts one. Its only errors are ctx's.
func (r *reader) startDecider(ctx context.Context, u *upload) error {
	select {
	case r.deciding <- struct{}{}:
	case <-ctx.Done():
		u.release()
		return ctx.Err()
	}
	r.sealed[u.id] = append(r.sealed[u.id], u)
	ctx, cancel := context.WithCancel(ctx)
	u.cancel = cancel
	d := decider{partition: r.partition, upload: u}
	r.group.Go(func() error {
		defer cancel()
		d.run(ctx)
		return nil
	})
	return nil
}

// handleDecisions hands uploads to the forwarder whose first decision this is. A decision for another upload changes
// nothing: either an earlier decision for it was read, or the upload was forwarded before, by the process that had the
// partition then.
func (r *reader) handleDecisions(d *recordpb.Decisions) {
	for _, one := range d.Decisions {
		id := uuid.UUID(one.Upload)
		if r.recent.get(id) != nil {
			continue
		}
		decision := r.recent.add(id, one, d.Chains)
		for _, u := range r.sealed[id] {
			u.cancel()
			u.decision = decision
			r.decided.Put(u)
		}
		delete(r.sealed, id)
	}
}
