package bulk

// Files in portions: gathered while they are hashed, then signed on all cores, then uploaded. The three steps work on
// different portions at the same time.

import (
	"cmp"
	"context"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"countersign/client"
	"countersign/internal/hashfiles"
)

// Config says what to do. Fields without a default are required.
type Config struct {
	Client *client.Client
	// Site is the host name in whose name is signed, in lower case.
	Site string
	// Sign signs a hash. It is called by several goroutines at once.
	Sign func(ctx context.Context, hash [32]byte) ([]byte, error)
	// Report gets each file's outcome, in the order in which they are known. It is called by one goroutine at a time. Its
	// error ends everything.
	Report func(Outcome) error
	// Portion is how many files one upload has at most. Default 20,000.
	Portion int
	// Uploads is how many uploads are under way at most. Default 2.
	Uploads int
	// Counts, if set, are kept up to date for whoever shows progress.
	Counts *Counts
}

// Counts are how far everything is, in files. They may be read at any time.
type Counts struct {
	Hashed, Signed, Decided, Uploading atomic.Int64
}

// run is one call of Run.
type run struct {
	Config
	reporting sync.Mutex
}

// Run hashes nothing itself: it takes files that are hashed, or why they can't be. The error is that of a call of the
// service, of Sign or of Report, or that ctx has ended. Files without an outcome then may have been accepted all the same:
// giving them again says.
func Run(ctx context.Context, c Config, files iter.Seq[hashfiles.File]) error {
	c.Portion = cmp.Or(c.Portion, 20_000)
	c.Uploads = cmp.Or(c.Uploads, 2)
	if c.Counts == nil {
		c.Counts = new(Counts)
	}
	r := &run{Config: c}
	steps, ctx := errgroup.WithContext(ctx)
	gathered, signed := make(chan *portion), make(chan *portion)
	steps.Go(func() error {
		defer close(gathered)
		return r.gather(ctx, files, gathered)
	})
	steps.Go(func() error {
		defer close(signed)
		for p := range gathered {
			if err := r.sign(ctx, p); err != nil {
				return err
			}
			if err := send(ctx, signed, p); err != nil {
				return err
			}
		}
		return nil
	})
	for range c.Uploads {
		steps.Go(func() error {
			for p := range signed {
				if err := r.finish(ctx, p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return steps.Wait()
}

func send(ctx context.Context, to chan<- *portion, p *portion) error {
	select {
	case to <- p:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// portion is files that travel together. Files with the same content are one pair.
type portion struct {
	names  map[[32]byte][]string
	hashes [][32]byte // the keys of names, in the order in which they came
	files  int
	pairs  []client.Pair // those of hashes that were signed
}

func newPortion() *portion { return &portion{names: make(map[[32]byte][]string)} }

func (p *portion) add(f hashfiles.File) {
	if _, there := p.names[f.Hash]; !there {
		p.hashes = append(p.hashes, f.Hash)
	}
	p.names[f.Hash] = append(p.names[f.Hash], f.Name)
	p.files++
}

// gather makes portions. What can't be read is reported at once.
func (r *run) gather(ctx context.Context, files iter.Seq[hashfiles.File], to chan<- *portion) error {
	p := newPortion()
	for f := range files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if f.Err != nil {
			if err := r.report(NotRead(f)); err != nil {
				return err
			}
			continue
		}
		r.Counts.Hashed.Add(1)
		if p.add(f); p.files == r.Portion {
			if err := send(ctx, to, p); err != nil {
				return err
			}
			p = newPortion()
		}
	}
	if p.files == 0 {
		return nil
	}
	return send(ctx, to, p)
}

// sign signs on all cores what the site hasn't signed before. The rest has its outcome now.
func (r *run) sign(ctx context.Context, p *portion) error {
	missing, err := r.notSignedYet(ctx, p)
	if err != nil {
		return err
	}
	p.pairs = make([]client.Pair, len(missing))
	var next atomic.Int64
	signing, ctx := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		signing.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(missing) {
					return nil
				}
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				signature, err := r.Sign(ctx, missing[i])
				if err != nil {
					return err
				}
				p.pairs[i] = client.Pair{Hash: missing[i], Signature: signature}
				r.Counts.Signed.Add(1)
			}
		})
	}
	return signing.Wait()
}
