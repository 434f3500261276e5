package verify

// An upload's chunks in order, from memory or from the log, and with the verdicts on them under given keys. Reading,
// verifying and using overlap: a bounded window of chunks is with the workers, and comes out in order.

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/google/uuid"

	"countersign/pipeline/certs"
	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// maxAhead bounds the chunks held while an earlier one is still to come, in bytes. A writer's chunks are in order,
// except for those that a retried request stored twice.
const maxAhead = 32 << 20

// Deciders take turns at reading uploads again, in all partitions together. Each has up to 3 MB on the way, which the
// memory limit doesn't count, and more of them at once would be no faster. Uploads of one batch have turns of their
// own, so that a single signing doesn't wait for a million pairs. Forwarders, of which each partition has one, need no
// turn.
const (
	maxLongReads  = 8
	maxShortReads = 16
)

// turns holds a token for each decider that has a turn. Such a decider waits for workers and the log, and never for
// another decider.
type turns struct {
	short chan struct{} // at uploads of at most one batch
	long  chan struct{} // at all others
}

func newTurns() turns {
	return turns{short: make(chan struct{}, maxShortReads), long: make(chan struct{}, maxLongReads)}
}

// of returns the turns at uploads of so many pairs. Send to it for a turn, and receive from it when done.
func (t turns) of(pairs uint64) chan struct{} {
	if pairs <= record.BatchSize {
		return t.short
	}
	return t.long
}

// submitted is a piece that the workers have.
type submitted struct {
	piece *piece
	done  chan struct{} // closed when the piece has its verdicts
}

// eachPiece calls use, on the calling goroutine, with all pieces of an upload in order of position, with the verdicts
// under keys. Without keys no signature is checked: the pairs that could not be parsed have that verdict, and the
// verdicts on all others mean nothing. It stops at the first error.
func (p *partition) eachPiece(ctx context.Context, u *upload, keys []certs.Key, use func(*piece) error) error {
	ctx, cancel := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	defer func() { cancel(); _ = g.Wait() }()
	window := make(chan submitted, 2*p.stage.cfg.Workers)
	g.Go(func() error {
		defer close(window)
		return p.eachChunk(ctx, u, func(chunk *recordpb.Chunk) error { return p.verifyInto(ctx, window, chunk, keys) })
	})
	for s := range window {
		select {
		case <-s.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := use(s.piece); err != nil {
			return err
		}
	}
	return g.Wait()
}

// verifyInto hands a chunk to the workers, and puts it into the window when there is room.
func (p *partition) verifyInto(
	ctx context.Context, window chan<- submitted, chunk *recordpb.Chunk, keys []certs.Key,
) error {
	s := submitted{piece: &piece{chunk: chunk}, done: make(chan struct{})}
	select {
	case window <- s:
	case <-ctx.Done():
		return ctx.Err()
	}
	return p.stage.submit(ctx, func(scratch *scratch) {
		defer close(s.done)
		p.stage.verifyPiece(scratch, s.piece, keys)
	})
}

// eachChunk calls fn with an upload's chunks in order, from memory or from the log. An error that wraps
// errUnrecoverable says that they are not all there.
func (p *partition) eachChunk(ctx context.Context, u *upload, fn func(*recordpb.Chunk) error) error {
	if u.seal.Count == 0 {
		return nil
	}
	if u.attempt != nil {
		for _, piece := range u.attempt.pieces {
			if err := fn(piece.chunk); err != nil {
				return err
			}
		}
		return nil
	}
	p.stage.metrics.readbacks.Inc()
	return p.readBack(ctx, u, fn)
}

// readBack reads an upload's stretch of the partition again.
func (p *partition) readBack(ctx context.Context, u *upload, fn func(*recordpb.Chunk) error) error {
	if u.from < 0 || u.from > u.offset {
		return unrecoverable("the seal at offset %d says that they begin at %d", u.offset, u.from)
	}
	o := ordered{fn: fn, ahead: make(map[uint32]*recordpb.Chunk)}
	attempt := uuid.UUID(u.seal.Attempt)
	err := p.log.ReadRange(ctx, u.from, u.offset+1, func(m log.Message) error {
		r, err := record.DecodeUpload(m.Value)
		if err != nil {
			return nil // the reader has sent it to the dead letters
		}
		if c := r.GetChunk(); c != nil && uuid.UUID(c.Attempt) == attempt {
			return o.add(c)
		}
		return nil
	})
	switch {
	case errors.Is(err, log.ErrOffsetGone):
		return unrecoverable("retention has deleted offset %d", u.from)
	case err != nil:
		return err
	case uint64(o.next) != u.seal.Count:
		return unrecoverable("%d of %d pairs are there", o.next, u.seal.Count)
	}
	return nil
}

// ordered passes chunks on in order of position, each once.
type ordered struct {
	fn    func(*recordpb.Chunk) error
	next  uint32                     // position of the pair that is expected next
	ahead map[uint32]*recordpb.Chunk // chunks that came before their turn, by position
	bytes int                        // of ahead
}

func (o *ordered) add(c *recordpb.Chunk) error {
	if c.First > o.next {
		if _, repeated := o.ahead[c.First]; !repeated {
			o.ahead[c.First] = c
			o.bytes += len(c.Hashes) + len(c.Signatures)
		}
		if o.bytes > maxAhead {
			return unrecoverable("position %d is missing", o.next)
		}
		return nil
	}
	for ; c != nil && c.First == o.next; c = o.removeNext() {
		if err := o.fn(c); err != nil {
			return err
		}
		o.next += uint32(len(c.Hashes) / record.HashSize)
	}
	return nil
}

// removeNext returns the chunk at the expected position, if it came before its turn, and removes it from those.
func (o *ordered) removeNext() *recordpb.Chunk {
	c := o.ahead[o.next]
	if c != nil {
		delete(o.ahead, o.next)
		o.bytes -= len(c.Hashes) + len(c.Signatures)
	}
	return c
}
