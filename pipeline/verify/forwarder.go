package verify

// Sending decided uploads on. What the shards store is durable, so it may only come of seals and decisions that are
// durable: the log is flushed first, once for all uploads that wait.
//
// The forwarder works in rounds. A round packs the claims of some uploads into a block for each shard, and their
// outcomes into a record for the shard of their UUID. It ends when the log has acknowledged all of these records, and
// only then are the uploads' seals done. A round that fails is repeated whole: the shards may see its claims twice and
// count them once (I5).

import (
	"context"
	"errors"
	"fmt"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// roundPairs is how many pairs a round has at most, or else one upload. No upload is done before its round is, so
// rounds are not larger.
const roundPairs = 50_000

// forwarder is the goroutine that forwards. It keeps nothing from one round to the next.
type forwarder struct{ *partition }

// run works until ctx ends. Its only errors are ctx's.
func (f forwarder) run(ctx context.Context) error {
	for {
		select {
		case <-f.decided.Ready():
		case <-ctx.Done():
			return ctx.Err()
		}
		waiting := f.decided.Take()
		err := f.flush(ctx)
		for err == nil && len(waiting) > 0 {
			n := roundSize(waiting)
			if err = f.forwardRound(ctx, waiting[:n]); err == nil {
				waiting = waiting[n:]
			}
		}
		if err != nil {
			return err
		}
	}
}

// flush puts on disk what the log has acknowledged. It tries until it succeeds: its only errors are ctx's.
func (f forwarder) flush(ctx context.Context) error {
	for {
		err := f.stage.cfg.Producer.Flush(ctx)
		if err == nil {
			return nil
		}
		if err := f.backOff(ctx, err); err != nil {
			return err
		}
	}
}

// roundSize returns how many of the uploads that wait, from the first, make the next round.
func roundSize(waiting []*upload) int {
	n, pairs := 1, waiting[0].seal.Count
	for n < len(waiting) && pairs+waiting[n].seal.Count <= roundPairs {
		pairs += waiting[n].seal.Count
		n++
	}
	return n
}

// forwardRound sends uploads on and finishes their seals. It tries until it succeeds: its only errors are ctx's.
func (f forwarder) forwardRound(ctx context.Context, round []*upload) error {
	for {
		err := f.tryRound(ctx, round)
		if err == nil {
			break
		}
		if err := f.backOff(ctx, err); err != nil {
			return err
		}
	}
	for _, u := range round {
		f.finish(u)
		f.stage.metrics.forwarded.Inc()
	}
	f.commit()
	return nil
}

// tryRound sends the single signings in records of their own: the sink can announce those before it stores their rows.
func (f forwarder) tryRound(ctx context.Context, round []*upload) error {
	out := newOutbox(f.stage, f.log.ID())
	for _, single := range []bool{true, false} {
		for _, u := range round {
			if u.seal.Single != single {
				continue
			}
			if err := f.packOrBury(ctx, u, out); err != nil {
				return fmt.Errorf("forwarding upload %s: %w", u.id, err)
			}
		}
		if err := out.sendRest(ctx); err != nil {
			return err
		}
	}
	return out.flush(ctx)
}

// packOrBury packs an upload, or names it in a dead letter where it can't be read back.
func (f forwarder) packOrBury(ctx context.Context, u *upload, out *outbox) error {
	err := f.pack(ctx, u, out)
	if errors.Is(err, errUnrecoverable) {
		f.logger.Error("an accepted upload can't be read back", "upload", u.id, "offset", u.offset, "error", err)
		f.stage.metrics.dead.Inc()
		return f.deadLetter(ctx, u.offset, err)
	}
	return err
}

// pack puts all of an upload into the outbox, as its decision says, or nothing of it.
//
// The outbox sends a record whenever one is full, so the first claims of a large upload are gone before its last chunk
// is read. If a chunk turned out to be missing then, a part of the upload would be stored (I2). So nothing may be
// packed of an upload that nobody has seen all of. If the coordinator has its verdicts, all of it was there. An upload
// without certificates has none, so it is read once only to see that all is there, and once more to pack it. For an
// upload in memory the first reading costs nothing.
func (f forwarder) pack(ctx context.Context, u *upload, out *outbox) error {
	if u.failed != nil {
		return u.failed
	}
	if u.decision.failed != nil {
		return u.decision.failed
	}
	keys, err := f.stage.cfg.Certs.KeysOf(u.decision.chains)
	if err != nil {
		return unrecoverable("the log names a certificate that can't be used: %v", err)
	}
	if len(keys) == 0 {
		if err := f.eachChunk(ctx, u, func(*recordpb.Chunk) error { return nil }); err != nil {
			return err
		}
	}
	if err := out.addAccepted(ctx, u, f.stage.cfg.Clock()); err != nil {
		return err
	}
	batches := newBatches(u, keys, out)
	add := func(c *recordpb.Chunk) error { return batches.add(ctx, c, unparsedOf(c)) }
	if len(keys) > 0 {
		add = u.verification.attach(func(c *recordpb.Chunk, verdicts []byte) error { return batches.add(ctx, c, verdicts) })
	}
	if err := f.eachChunk(ctx, u, add); err != nil {
		return err
	}
	return batches.end(ctx)
}

// unparsedOf are verdicts on a chunk whose signatures were not checked: those on the pairs that were not parsed.
func unparsedOf(c *recordpb.Chunk) []byte {
	verdicts := make([]byte, len(c.Hashes)/record.HashSize)
	for _, u := range c.Unparsed {
		verdicts[u.Index] = unparsed
	}
	return verdicts
}
