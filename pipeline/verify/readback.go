package verify

// Uploads that are not held in memory are read again from the log, some at a time. A chunk that was read is in memory
// until the workers are done with it, and only so many chunks of one upload are. The memory limit doesn't count them.

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"countersign/internal/fair"
	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// maxAhead bounds the chunks held while an earlier one is still to come, in bytes. A writer's chunks are in order,
// except for those that a retried request stored twice.
const maxAhead = 32 << 20

// How many uploads are read again at once, in all partitions together. Each has up to 3 MB on the way, and more of them
// at once would be no faster. There are three kinds, so that a single signing doesn't wait for a million pairs, and
// neither waits for a key that is slow: uploads of one batch, longer ones, and those whose signatures take more worker
// time than dearUpload. Among those of one kind sites and clients have turns. Forwarders, of which each partition has
// one, need no turn.
const (
	maxShortReads = 16
	maxLongReads  = 8
	maxDearReads  = 8
	dearUpload    = time.Second
)

// readBack is an upload that waits for its turn to be read again, or is being read.
type readBack struct {
	*partition
	ctx          context.Context
	upload       *upload
	verification *verification

	// check has a chunk's pairs checked, and done called when that is done, also where it returns an error.
	check func(chunk *recordpb.Chunk, done func()) error
	// done is called when all are checked, or with the error that ended the reading. It isn't called if ctx ends.
	done func(error)
}

// readBacks are those that wait, by kind.
type readBacks struct {
	short, long, dear *fair.Queue[account, *readBack]
}

func newReadBacks() readBacks {
	return readBacks{
		short: fair.New[account, *readBack](0, 0), long: fair.New[account, *readBack](0, 0), dear: fair.New[account, *readBack](0, 0),
	}
}

func (q readBacks) put(r *readBack) {
	var price time.Duration
	for _, key := range r.verification.keys {
		price += key.Verifier.Price()
	}
	pairs := r.upload.seal.Count
	cost := time.Duration(min(pairs, 1<<31)) * min(price, budget)
	kind := q.long
	switch {
	case cost > dearUpload:
		kind = q.dear
	case pairs <= record.BatchSize:
		kind = q.short
	}
	kind.Put(r, int64(cost), r.verification.accounts...)
}

// start starts the goroutines that read uploads again until ctx ends.
func (q readBacks) start(ctx context.Context, g interface{ Go(func()) }) {
	for queue, n := range map[*fair.Queue[account, *readBack]]int{q.short: maxShortReads, q.long: maxLongReads, q.dear: maxDearReads} {
		for range n {
			g.Go(func() { readInTurn(ctx, queue) })
		}
	}
}

func readInTurn(ctx context.Context, queue *fair.Queue[account, *readBack]) {
	for {
		r, done, err := queue.Take(ctx)
		if err != nil {
			return
		}
		if r.reading.begin() {
			r.run(ctx)
			r.reading.end()
		}
		done()
	}
}

// run reads the upload's chunks, and waits for the workers.
func (r *readBack) run(stage context.Context) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	defer context.AfterFunc(stage, cancel)()
	window := make(chan struct{}, 2*r.stage.cfg.Workers)
	err := r.eachChunk(ctx, r.upload, func(chunk *recordpb.Chunk) error {
		select {
		case window <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		return r.check(chunk, func() { <-window })
	})
	for range cap(window) {
		select {
		case window <- struct{}{}:
		case <-ctx.Done():
			return
		}
	}
	if ctx.Err() == nil {
		r.verification.whenIdle(func() { r.done(err) })
	}
}

// gate counts what is under way until it is closed.
type gate struct {
	mu      sync.Mutex
	closed  bool // guarded by mu
	working sync.WaitGroup
}

// begin reports whether the gate is open. If so, end must be called.
func (g *gate) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.working.Add(1)
	}
	return !g.closed
}

func (g *gate) end() { g.working.Done() }

// close closes the gate and waits for what is under way.
func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.working.Wait()
}

// eachChunk calls fn with an upload's chunks in order, from memory or from the log. An error that wraps
// errUnrecoverable says that they are not all there.
func (p *partition) eachChunk(ctx context.Context, u *upload, fn func(*recordpb.Chunk) error) error {
	if u.seal.Count == 0 {
		return nil
	}
	if u.attempt != nil {
		for _, chunk := range u.attempt.chunks {
			if err := fn(chunk); err != nil {
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
			return nil //nolint:nilerr // the reader has sent it to the dead letters
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
