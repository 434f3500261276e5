package verify

// Sending decided uploads on. What shards store is durable, so it may only come of seals and decisions that are: the log is flushed
// first, once for all that wait. A round takes every upload that is waiting, packs their claims into a block for each shard and their
// outcomes into a record for the shard of their UUID, and ends when the log has acknowledged all of it: only then are
// their seals done. A round that fails is repeated whole; the shards have seen such claims before and count them once (I5).

import (
	"context"
	"errors"
	"fmt"

	"countersign/pipeline/record/recordpb"
)

func (p *partition) forward(ctx context.Context) error {
	for {
		select {
		case <-p.decided.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
		round := p.decided.take()
		err := p.flush(ctx)
		for err == nil && len(round) > 0 {
			n := p.roundSize(round)
			if err = p.forwardRound(ctx, round[:n]); err == nil {
				round = round[n:]
			}
		}
		if err != nil {
			for _, u := range round { // a decider may be reading what one holds: releaseAll comes after it
				p.decided.put(u)
			}
			return err
		}
	}
}

// flush makes the log durable as far as it is acknowledged, as often as it takes. Its only errors are ctx's.
func (p *partition) flush(ctx context.Context) error {
	for {
		err := p.stage.cfg.Producer.Flush(ctx)
		if err == nil {
			return nil
		}
		if err := p.pause(ctx, err); err != nil {
			return err
		}
	}
}

// roundPairs is how many pairs a round takes, at least one upload: an upload is not done before its round is.
const roundPairs = 50_000

func (p *partition) roundSize(round []*upload) int {
	n, pairs := 1, round[0].seal.Count
	for n < len(round) && pairs+round[n].seal.Count <= roundPairs {
		pairs += round[n].seal.Count
		n++
	}
	return n
}

// forwardRound sends uploads on, as often as it takes, and finishes their seals. Its only errors are ctx's.
func (p *partition) forwardRound(ctx context.Context, round []*upload) error {
	for {
		err := p.tryRound(ctx, round)
		if err == nil {
			break
		}
		if err := p.pause(ctx, err); err != nil {
			return err
		}
	}
	for _, u := range round {
		p.progress.finish(u.offset)
		u.release()
		p.stage.metrics.forwarded.Inc()
	}
	p.log.Commit(p.progress.prefix())
	return nil
}

func (p *partition) tryRound(ctx context.Context, round []*upload) error {
	out := newOutbox(p.stage, p.log.ID())
	for _, u := range round {
		err := p.pack(ctx, u, out)
		if errors.Is(err, errBroken) {
			p.logger.Error("an accepted upload can't be read back", "upload", u.id, "offset", u.offset, "error", err)
			p.stage.metrics.dead.Inc()
			err = p.deadLetter(ctx, u.offset, err)
		}
		if err != nil {
			return fmt.Errorf("forwarding upload %s: %w", u.id, err)
		}
	}
	return out.flush(ctx)
}

// pack puts all of an upload into the outbox, as its decision says.
func (p *partition) pack(ctx context.Context, u *upload, out *outbox) error {
	select {
	case <-u.settled:
	case <-ctx.Done():
		return ctx.Err()
	}
	keys, err := p.stage.cfg.Certs.KeysOf(u.decision.chains)
	if err != nil {
		return broken("the log names a certificate that can't be used: %v", err)
	}
	if u.found == nil { // nobody here has seen all of it: nothing of it may leave if something is missing (I2)
		if err := p.source(ctx, u, func(*recordpb.Chunk) error { return nil }); err != nil {
			return err
		}
	}
	if err := out.accepted(ctx, u, p.stage.cfg.Clock()); err != nil {
		return err
	}
	batches := newBatches(u, keys, out)
	if u.found != nil && len(u.decision.chains) > 0 && sameChains(u.found.chains, u.decision.chains) {
		err = p.source(ctx, u, u.found.pieces(func(piece *piece) error { return batches.add(ctx, piece) }))
	} else {
		err = p.eachPiece(ctx, u, keys, func(piece *piece) error { return batches.add(ctx, piece) })
	}
	if err != nil {
		return err
	}
	return batches.end(ctx)
}
