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
const block = 128

// lanes is how many partial sums each signature is split into. A round adds one entry to each; the last rounds halve
// their number. More lanes mean fewer rounds, each of which needs an inversion, and more memory.
const lanes = 16

// portable is the engine in plain Go, for the curve with coordinates E and scalars O.
type portable[E, O any, F field.Element[E], N field.Element[O]] struct {
	scalars        *scalars[O, N]
	generator, key comb[E]
	workspaces     sync.Pool // of *workspace[E, O, F]
}

// workspace is what one call of verify writes to.
type workspace[E, O any, F field.Element[E]] struct {
	signatures []signature[O]
	index      []int // which signature of the block each of signatures is
	sums       []point[E]
	terms      []point[E]
	failed     []bool
	adder      *adder[E, F]
	scalar     [2]O
	digest     [32]byte
}

func newPortable[E, O any, F field.Element[E], N field.Element[O]](generator, key comb[E]) *portable[E, O, F, N] {
	p := &portable[E, O, F, N]{scalars: newScalars[O, N](), generator: generator, key: key}
	p.workspaces.New = func() any {
		return &workspace[E, O, F]{
			signatures: make([]signature[O], block),
			index:      make([]int, block),
			sums:       make([]point[E], lanes*block),
			terms:      make([]point[E], lanes*block),
			failed:     make([]bool, block),
			adder:      newAdder[E, F](lanes * block),
		}
	}
	return p
}

func (p *portable[E, O, F, N]) kind() string { return "table" }

func (p *portable[E, O, F, N]) bytes() int {
	var coordinate E
	return len(p.key) * 2 * 8 * len(F(&coordinate).Words())
}

func (p *portable[E, O, F, N]) verify(results []result, digests [][32]byte, signatures [][]byte) {
	w := p.workspaces.Get().(*workspace[E, O, F])
	defer p.workspaces.Put(w)
	n := 0
	for i := range results {
		results[i] = refused
		w.digest = digests[i]
		if p.scalars.set(&w.signatures[n], &w.digest, signatures[i]) {
			w.index[n] = i
			n++
		}
	}
	if n == 0 {
		return
	}
	p.scalars.recode(w.signatures[:n], &w.scalar)
	p.sum(w, n)
	for i := range n {
		switch x := &w.sums[i].x; {
		case w.failed[i]:
			results[w.index[i]] = undecided
		case p.matches(w, x, &w.signatures[i].r):
			results[w.index[i]] = accepted
		}
	}
}

// matches tells whether x, in Montgomery form and clobbered, is r modulo the order.
func (p *portable[E, O, F, N]) matches(w *workspace[E, O, F], x *E, r *O) bool {
	F(x).Leave(x)
	v := N(&w.scalar[0])
	copy(v.Words(), F(x).Words())
	if !v.Less(&p.scalars.order) {
		// x is below the field's prime, which is below twice the order: this is x - n exactly.
		v.Sub(&w.scalar[0], &p.scalars.order)
	}
	v.Sub(&w.scalar[0], r)
	return v.IsZero()
}

// sum leaves u1*G + u2*Q of signature i in w.sums[i], or sets w.failed[i].
//
// Lane l of signature i is at l*n+i, so that folding the lanes adds one half of the memory to the other.
func (p *portable[E, O, F, N]) sum(w *workspace[E, O, F], n int) {
	clear(w.failed[:n])
	windows := len(p.generator) / entries
	for first := 0; first < 2*windows; first += lanes {
		target := w.terms
		if first == 0 {
			target = w.sums
		}
		for l := range lanes {
			table, window := p.generator, first+l
			if window >= windows {
				table, window = p.key, window-windows
			}
			for i := range n {
				u := &w.signatures[i].u1
				if first+l >= windows {
					u = &w.signatures[i].u2
				}
				digit := byte(N(u).Words()[window/8] >> (window % 8 * 8))
				pick[E, F](&target[l*n+i], table, window, digit)
			}
		}
		if first > 0 {
			w.adder.addAll(w.sums[:lanes*n], w.terms[:lanes*n], w.failed[:n])
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
