package ecbatch

import (
	"crypto/elliptic"
	"math/big"
	"sync"

	"countersign/pipeline/signature/internal/ecbatch/internal/field"
)

// engine verifies a block of signatures under one key, with its tables.
type engine interface {
	// verify sets results[i] for each signature of a block, at most block of them.
	verify(results []result, digests [][32]byte, signatures [][]byte)
	// bytes is the size of the key's own table.
	bytes() int
	// kind names the engine for Key.Kind.
	kind() string
}

// result is an engine's opinion of a signature.
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
	generator, key comb[E]
	workspaces     sync.Pool // of *workspace[E, O, F, N]
}

// workspace is what one call of verify writes to.
type workspace[E, O any, F field.Element[E], N field.Element[O]] struct {
	batch  batch[O, N]
	sums   []point[E]
	terms  []point[E]
	failed []bool
	adder  *adder[E, F]
}

func newPortable[E, O any, F field.Element[E], N field.Element[O]](generator, key comb[E]) *portable[E, O, F, N] {
	p := &portable[E, O, F, N]{generator: generator, key: key}
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

func (p *portable[E, O, F, N]) kind() string { return "table" }

func (p *portable[E, O, F, N]) bytes() int {
	return tableBytes[E, F](p.key)
}

func tableBytes[E any, F field.Element[E]](table comb[E]) int {
	return len(table) * 2 * 8 * len(F(&table[0].x).Words())
}

func (p *portable[E, O, F, N]) verify(results []result, digests [][32]byte, signatures [][]byte) {
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
func (p *portable[E, O, F, N]) sum(w *workspace[E, O, F, N], signatures []signature[O]) {
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

// basePoint is the generator of a curve in Montgomery form; affine converts any point.
func basePoint[E any, F field.Element[E]](curve elliptic.Curve) point[E] {
	return affine[E, F](curve.Params().Gx, curve.Params().Gy)
}

func affine[E any, F field.Element[E]](x, y *big.Int) point[E] {
	var p point[E]
	setBytes(F(&p.x).Words(), x.Bytes())
	setBytes(F(&p.y).Words(), y.Bytes())
	F(&p.x).Enter(&p.x)
	F(&p.y).Enter(&p.y)
	return p
}
