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

	"countersign/pipeline/record/recordpb"
)

// roundPairs is how many pairs a round has at most, or else one upload. No upload is done before its round is, so
// rounds are not larger.
const roundPairs = 50_000

// forwarder is the goroutine that forwards. It keeps nothing from one round to the next.
type forwarder struct{ *partition }

// run works until ctx ends. Its only errors are ctx's. Uploads that are not forwarded then are in partition.decided.
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
			// An upload's decider may still read what the upload holds. So nothing is released here, but by handle,
			// when all have ended.
			f.decided.PutBack(waiting...)
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
		f.progress.finish(u.offset)
		u.release()
		f.stage.metrics.forwarded.Inc()
	}
	f.log.Commit(f.progress.committable())
	return nil
}

func (f forwarder) tryRound(ctx context.Context, round []*upload) error {
	out := newOutbox(f.stage, f.log.ID())
	for _, u := range round {
		err := f.pack(ctx, u, out)
		if errors.Is(err, errUnrecoverable) {
			f.logger.Error("an accepted upload can't be read back", "upload", u.id, "offset", u.offset, "error", err)
			f.stage.metrics.dead.Inc()
			err = f.deadLetter(ctx, u.offset, err)
		}
		if err != nil {
			return fmt.Errorf("forwarding upload %s: %w", u.id, err)
		}
	}
	return out.flush(ctx)
}

// pack puts all of an upload into the outbox, as its decision says, or nothing of it.
//
// The outbox sends a record whenever one is full, so the first claims of a large upload are gone before its last chunk
// is read. If a chunk turned out to be missing then, a part of the upload would be stored (I2). So nothing may be
// packed of an upload that nobody has seen all of. If the decider has verified it, all of it was there. If the decider
// was stopped by a decision that it did not make, the upload is read once only to see that all is there, and once more
// to pack it. For an upload in memory the first reading costs nothing. For others it happens after a restart only, and
// costs less than keeping a million verdicts and signatures until the last chunk is read.
func (f forwarder) pack(ctx context.Context, u *upload, out *outbox) error {
	select {
	case <-u.deciderDone:
	case <-ctx.Done():
		return ctx.Err()
	}
	keys, err := f.stage.cfg.Certs.KeysOf(u.decision.chains)
	if err != nil {
		return unrecoverable("the log names a certificate that can't be used: %v", err)
	}
	if u.verdicts == nil {
		if err := f.eachChunk(ctx, u, func(*recordpb.Chunk) error { return nil }); err != nil {
			return err
		}
	}
	if err := out.addAccepted(ctx, u, f.stage.cfg.Clock()); err != nil {
		return err
	}
	batches := newBatches(u, keys, out)
	add := func(piece *piece) error { return batches.add(ctx, piece) }
	if u.verdicts != nil && len(u.decision.chains) > 0 && sameChains(u.verdicts.chains, u.decision.chains) {
		err = f.eachChunk(ctx, u, u.verdicts.attach(add))
	} else {
		err = f.eachPiece(ctx, u, keys, add)
	}
	if err != nil {
		return err
	}
	return batches.end(ctx)
}
