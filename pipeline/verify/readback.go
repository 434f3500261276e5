package verify

// An upload's pieces in order, whether they are held or have to be read again, each with its verdicts under given keys.
// Reading, verifying and using overlap: a bounded window of pieces is in flight, and comes out in order.

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/google/uuid"

	"countersign/pipeline/certs"
	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// maxAhead bounds the chunks held because an earlier one is still to come, in bytes. One writer's chunks are in order but for
// what a retry repeats.
const maxAhead = 32 << 20

// Deciders take turns at reading again, in all partitions together: each has up to 3 MB on the way, which the memory limit doesn't
// count, and more at once would be no faster. Uploads of one batch have turns of their own, so that a single signing doesn't wait for
// a million pairs. Forwarders, one a partition, need none.
const (
	maxLongReads  = 8
	maxShortReads = 16
)

// turns is where a token is a turn at reading so many pairs again. Whoever has one waits for workers and the log, never for another.
func (s *Stage) turns(pairs uint64) chan struct{} {
	if pairs <= record.BatchSize {
		return s.shortReads
	}
	return s.longReads
}

// judged is a piece whose verdicts are on their way.
type judged struct {
	piece *piece
	done  chan struct{}
}

// eachPiece calls use, on the calling goroutine, with all pieces of an upload in order of position, with verdicts under keys. With
// no keys nothing is verified and the verdicts are only right about what didn't parse. It stops at the first error.
func (p *partition) eachPiece(ctx context.Context, u *upload, keys []certs.Key, use func(*piece) error) error {
	ctx, cancel := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	defer func() { cancel(); _ = g.Wait() }()
	window := make(chan judged, 2*p.stage.cfg.Workers)
	g.Go(func() error {
		defer close(window)
		return p.source(ctx, u, func(chunk *recordpb.Chunk) error { return p.verifyInto(ctx, window, chunk, keys) })
	})
	for j := range window {
		select {
		case <-j.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := use(j.piece); err != nil {
			return err
		}
	}
	return g.Wait()
}

// verifyInto has a chunk verified and puts it into the window, which may have to wait for room.
func (p *partition) verifyInto(ctx context.Context, window chan<- judged, chunk *recordpb.Chunk, keys []certs.Key) error {
	j := judged{piece: &piece{chunk: chunk}, done: make(chan struct{})}
	select {
	case window <- j:
	case <-ctx.Done():
		return ctx.Err()
	}
	return p.stage.submit(ctx, func(scratch *scratch) {
		defer close(j.done)
		p.stage.judge(scratch, j.piece, keys)
	})
}

// source calls fn with an upload's chunks in order, from memory or from the log.
func (p *partition) source(ctx context.Context, u *upload, fn func(*recordpb.Chunk) error) error {
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
		return broken("the seal at offset %d says that they begin at %d", u.offset, u.from)
	}
	o := ordered{fn: fn, ahead: make(map[uint32]*recordpb.Chunk)}
	attempt := uuid.UUID(u.seal.Attempt)
	err := p.log.ReadRange(ctx, u.from, u.offset+1, func(m log.Message) error {
		r, err := record.DecodeUpload(m.Value)
		if err != nil {
			return nil // the loop has told of it
		}
		if c := r.GetChunk(); c != nil && uuid.UUID(c.Attempt) == attempt {
			return o.add(c)
		}
		return nil
	})
	switch {
	case isGone(err):
		return broken("retention has deleted offset %d", u.from)
	case err != nil:
		return err
	case uint64(o.next) != u.seal.Count:
		return broken("%d of %d pairs are there", o.next, u.seal.Count)
	}
	return nil
}

// ordered passes chunks on in order of position, each once.
type ordered struct {
	fn    func(*recordpb.Chunk) error
	next  uint32
	ahead map[uint32]*recordpb.Chunk
	bytes int
}

func (o *ordered) add(c *recordpb.Chunk) error {
	if c.First > o.next {
		if _, repeated := o.ahead[c.First]; !repeated {
			o.ahead[c.First] = c
			o.bytes += len(c.Hashes) + len(c.Signatures)
		}
		if o.bytes > maxAhead {
			return broken("position %d is missing", o.next)
		}
		return nil
	}
	for ; c != nil && c.First == o.next; c = o.take() {
		if err := o.fn(c); err != nil {
			return err
		}
		o.next += uint32(len(c.Hashes) / record.HashSize)
	}
	return nil
}

// take returns the chunk that waited for the current position, if one did.
func (o *ordered) take() *recordpb.Chunk {
	c := o.ahead[o.next]
	if c != nil {
		delete(o.ahead, o.next)
		o.bytes -= len(c.Hashes) + len(c.Signatures)
	}
	return c
}
