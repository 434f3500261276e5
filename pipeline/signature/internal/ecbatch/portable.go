package ecbatch

// The engine for every processor, in plain Go, and what it has in common with the one in vector.go.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"sync"

	"countersign/pipeline/signature/internal/ecbatch/internal/field"
)

// engine is one curve's arithmetic: the generator's table and a free list of working memory, shared by all keys.
type engine interface {
	// prepare builds the table of a public key, which is on the curve.
	prepare(public *ecdsa.PublicKey) verifier
}

// verifier is an engine with the table of one key.
type verifier interface {
	// verify sets results[i] for each signature of a block, at most block of them.
	verify(results []result, digests [][32]byte, signatures [][]byte)
}

// result is a verifier's opinion of a signature.
type result uint8

const (
	refused result = iota
	accepted
	// undecided is a signature whose sum met an exceptional addition; see adder.go.
	undecided
)

// block is how many signatures an engine takes at a time: large enough that the shared inversions cost little, small
// enough that the working memory stays in the cache next to the tables.
const block = 256

// minLanes and maxLanes bound how many partial sums each signature is split into, its lanes of memory. A round adds one
// table entry to each lane; the last rounds halve their number. More lanes mean fewer rounds, each of which needs an
// inversion, and more memory.
const (
	minLanes = 8
	maxLanes = 64
)

// lanesFor is how many lanes each of n signatures gets, of a block of at most max.
func lanesFor(n, max int) int {
	lanes := minLanes
	for lanes < maxLanes && 2*lanes*n <= minLanes*max {
		lanes *= 2
	}
	return lanes
}

// portable is the engine in plain Go, for the curve with coordinates E and scalars O.
type portable[E, O any, F field.Element[E], N field.Element[O]] struct {
	generator  comb[E]
	workspaces sync.Pool // of *workspace[E, O, F, N]
}

// portableKey is its verifier.
type portableKey[E, O any, F field.Element[E], N field.Element[O]] struct {
	*portable[E, O, F, N]
	key comb[E]
}

// workspace is what one call of verify writes to: some 450 KiB for P-256, 700 KiB for P-384.
type workspace[E, O any, F field.Element[E], N field.Element[O]] struct {
	batch  batch[O, N]
	sums   []point[E]
	terms  []point[E]
	failed []bool
	adder  *adder[E, F]
}

func newPortable[E, O any, F field.Element[E], N field.Element[O]](curve elliptic.Curve) *portable[E, O, F, N] {
	p := &portable[E, O, F, N]{
		generator: newComb[E, F](affine[E, F](curve.Params().Gx, curve.Params().Gy)),
	}
	p.workspaces.New = func() any {
		return &workspace[E, O, F, N]{
			batch:  newBatch[O, N](),
			sums:   make([]point[E], minLanes*block),
			terms:  make([]point[E], minLanes*block),
			failed: make([]bool, block),
			adder:  newAdder[E, F](minLanes * block),
		}
	}
	return p
}

func (p *portable[E, O, F, N]) prepare(public *ecdsa.PublicKey) verifier {
	return &portableKey[E, O, F, N]{portable: p, key: newComb[E, F](affine[E, F](public.X, public.Y))}
}

func (p *portableKey[E, O, F, N]) verify(results []result, digests [][32]byte, signatures [][]byte) {
	w := p.workspaces.Get().(*workspace[E, O, F, N])
	defer p.workspaces.Put(w)
	opened := w.batch.open(results, digests, signatures)
	if len(opened) == 0 {
		return
	}
	p.sum(w, opened)
	for i := range opened {
		if w.failed[i] {
			results[w.batch.index[i]] = undecided
			continue
		}
		x := F(&w.sums[i].x)
		x.Leave(x)
		w.batch.settle(results, i, x.Words())
	}
}

// sum leaves u1*G + u2*Q of signature i in w.sums[i], or sets w.failed[i].
//
// Lane l of signature i is at l*n+i, so that folding the lanes adds one half of the memory to the other.
func (p *portableKey[E, O, F, N]) sum(w *workspace[E, O, F, N], signatures []signature[O]) {
	n := len(signatures)
	clear(w.failed[:n])
	windows := len(p.generator) / entries
	lanes := lanesFor(n, block)
	for first := 0; first < 2*windows; first += lanes {
		target := w.terms
		if first == 0 {
			target = w.sums
		}
		count := min(lanes, 2*windows-first)
		for l := range count {
			table, window := p.generator, first+l
			if window >= windows {
				table, window = p.key, window-windows
			}
			for i := range n {
				u := &signatures[i].u1
				if first+l >= windows {
					u = &signatures[i].u2
				}
				digit := byte(N(u).Words()[window/8] >> (window % 8 * 8))
				pick[E, F](&target[l*n+i], table, window, digit)
			}
		}
		if first > 0 {
			w.adder.addAll(w.sums[:count*n], w.terms[:count*n], w.failed[:n])
		}
	}
	for half := lanes / 2; half > 0; half /= 2 {
		w.adder.addAll(w.sums[:half*n], w.sums[half*n:2*half*n], w.failed[:n])
	}
}
