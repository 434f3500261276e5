package ecbatch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"sync"

	"countersign/pipeline/signature/internal/ecbatch/internal/field"
)

// The vector engine: what portable.go does, for eight signatures in eight lanes.
//
// Unlike the portable adder, the kernels don't look at single differences: one that is zero makes its lane's product
// zero, which is seen once for a round. All signatures of that lane in the block are then left undecided. Only a signer
// who uses the private key to arrange collisions can make that happen, at the price of being served at the speed of
// crypto/ecdsa.

// kernels is the arithmetic of one curve: V is a coordinate of eight signatures in limbs of 52 bits, in Montgomery form
// with R = 2^(52*limbs). Counts are positive, no function keeps a pointer.
type kernels[V, E any] struct {
	// mul sets z to x*y/R. If y is 1 the result is at most the prime.
	mul func(z, x, y *V)
	// products and sums are the two passes of adder.addAll; running is inverted between them.
	products func(running, dx, prefix *V, sums, terms *vectorPoint[V], n int)
	sums     func(running, dx, prefix *V, sums, terms *vectorPoint[V], n int, scratch *[2]V)
	// pick sets n points to the entries of a window that 8n digits stand for.
	pick func(points *vectorPoint[V], window *point[E], digits *byte, n int)
	// limbs is the vector's own memory, limb by limb.
	limbs func(v *V) [][8]uint64
}

// vectors is how many of them a block fills.
const vectors = block / 8

type vectorPoint[V any] struct {
	x, y V
}

// vectorEngine is the engine. The coordinates of its tables have the kernels' R.
type vectorEngine[V, E, O any, F field.Element[E], N field.Element[O]] struct {
	kernels   *kernels[V, E]
	generator comb[E]
	// one is 1 in Montgomery form, plain is 1.
	one, plain V
	// factor turns the Montgomery form of field into that of the kernels, as a factor of field's Mul: it is the
	// quotient of the two R, itself in Montgomery form. prime is the field's.
	factor, prime E
	workspaces    sync.Pool // of *vectorWorkspace[V, E, O, N]
}

// vectorKey is its verifier.
type vectorKey[V, E, O any, F field.Element[E], N field.Element[O]] struct {
	*vectorEngine[V, E, O, F, N]
	key comb[E]
}

// vectorWorkspace is what one call of verify writes to: some 550 KiB for P-256, 900 KiB for P-384.
type vectorWorkspace[V, E, O any, N field.Element[O]] struct {
	batch            batch[O, N]
	sums, terms      []vectorPoint[V]
	dx, prefix       []V
	scratch          [2]V
	running, leaving V
	rotated          [3]V
	coordinate       E
	// digits[w*8*n+i] is the digit of window w of signature i, in n vectors; the key's windows follow the generator's.
	digits []byte
	failed [8]bool
}

func newVectorEngine[V, E, O any, F field.Element[E], N field.Element[O]](
	k *kernels[V, E], curve elliptic.Curve,
) engine {
	e := &vectorEngine[V, E, O, F, N]{kernels: k}
	factor := F(&e.factor)
	factor.SetOne()
	for range 52*len(k.limbs(&e.one)) - 64*len(factor.Words()) {
		factor.Add(&e.factor, &e.factor)
	}
	F(&e.prime).SetModulus()
	for lane := range 8 {
		// As the Montgomery form of the quotient, the factor is the kernels' R modulo the prime.
		setLane(k.limbs(&e.one), lane, factor.Words())
		k.limbs(&e.plain)[0][lane] = 1
	}
	e.generator = e.table(affine[E, F](curve.Params().Gx, curve.Params().Gy))
	size := minLanes * vectors
	e.workspaces.New = func() any {
		return &vectorWorkspace[V, E, O, N]{
			batch:  newBatch[O, N](),
			sums:   make([]vectorPoint[V], size),
			terms:  make([]vectorPoint[V], size),
			dx:     make([]V, size),
			prefix: make([]V, size),
			digits: make([]byte, 2*len(e.generator)/entries*block),
		}
	}
	return e
}

func (e *vectorEngine[V, E, O, F, N]) prepare(public *ecdsa.PublicKey) verifier {
	return &vectorKey[V, E, O, F, N]{vectorEngine: e, key: e.table(affine[E, F](public.X, public.Y))}
}

// table is a point's table with coordinates in the kernels' Montgomery form.
func (e *vectorEngine[V, E, O, F, N]) table(base point[E]) comb[E] {
	table := newComb[E, F](base)
	for i := range table {
		F(&table[i].x).Mul(&table[i].x, &e.factor)
		F(&table[i].y).Mul(&table[i].y, &e.factor)
	}
	return table
}

func (e *vectorKey[V, E, O, F, N]) verify(results []result, digests [][32]byte, signatures [][]byte) {
	w := e.workspaces.Get().(*vectorWorkspace[V, E, O, N])
	defer e.workspaces.Put(w)
	opened := w.batch.open(results, digests, signatures)
	if len(opened) == 0 {
		return
	}
	n := (len(opened) + 7) / 8
	w.transpose(opened, 8*n)
	e.sum(w, n)
	for g := range n {
		e.kernels.mul(&w.leaving, &w.sums[g].x, &e.plain)
		for lane := range min(8, len(opened)-8*g) {
			if w.failed[lane] {
				results[w.batch.index[8*g+lane]] = undecided
				continue
			}
			e.lane(w, lane)
			w.batch.settle(results, 8*g+lane, F(&w.coordinate).Words())
		}
	}
}

// lane sets w.coordinate to a lane of w.leaving, where the prime stands for zero.
func (e *vectorEngine[V, E, O, F, N]) lane(w *vectorWorkspace[V, E, O, N], lane int) {
	x := F(&w.coordinate)
	getLane(x.Words(), e.kernels.limbs(&w.leaving), lane)
	if !x.Less(&e.prime) {
		x.Sub(&w.coordinate, &e.prime)
	}
}

// transpose lays the digits out by windows, for a whole number of vectors: the first signature's fill up the last one.
func (w *vectorWorkspace[V, E, O, N]) transpose(signatures []signature[O], n int) {
	for i := range n {
		sig := &signatures[0]
		if i < len(signatures) {
			sig = &signatures[i]
		}
		at := i
		for _, scalar := range [2]*O{&sig.u1, &sig.u2} {
			for _, v := range N(scalar).Words() {
				for range 8 {
					w.digits[at] = byte(v)
					v >>= 8
					at += n
				}
			}
		}
	}
}

// sum leaves u1*G + u2*Q of the signatures in n vectors in w.sums[:n], or sets w.failed for their lanes. It adds in the
// order of portable.sum.
func (e *vectorKey[V, E, O, F, N]) sum(w *vectorWorkspace[V, E, O, N], n int) {
	w.failed = [8]bool{}
	windows := len(e.generator) / entries
	lanes := lanesFor(n, vectors)
	for first := 0; first < 2*windows; first += lanes {
		target := w.terms
		if first == 0 {
			target = w.sums
		}
		count := min(lanes, 2*windows-first)
		for l := range count {
			table, window := e.generator, first+l
			if window >= windows {
				table, window = e.key, window-windows
			}
			e.kernels.pick(&target[l*n], &table[window*entries], &w.digits[(first+l)*8*n], n)
		}
		if first > 0 {
			e.addAll(w, w.terms, count*n)
		}
	}
	for half := lanes / 2; half > 0; half /= 2 {
		e.addAll(w, w.sums[half*n:], half*n)
	}
}

// addAll adds terms[k] to w.sums[k] for all k < n, lane by lane, and notes the lanes where that fails.
func (e *vectorEngine[V, E, O, F, N]) addAll(w *vectorWorkspace[V, E, O, N], terms []vectorPoint[V], n int) {
	w.running = e.one
	e.kernels.products(&w.running, &w.dx[0], &w.prefix[0], &w.sums[0], &terms[0], n)
	e.invert(w)
	e.kernels.sums(&w.running, &w.dx[0], &w.prefix[0], &w.sums[0], &terms[0], n, &w.scratch)
}

// invert inverts w.running, or sets w.failed for lanes that are zero, which become arbitrary. It multiplies each lane
// by those 4, 2 and 1 further, so that all have the product of all; one inverse serves them; and back.
func (e *vectorEngine[V, E, O, F, N]) invert(w *vectorWorkspace[V, E, O, N]) {
	k := e.kernels
	k.mul(&w.leaving, &w.running, &e.plain)
	for lane := range w.failed {
		if e.lane(w, lane); F(&w.coordinate).IsZero() {
			w.failed[lane] = true
			setLane(k.limbs(&w.running), lane, F(&e.factor).Words())
		}
	}
	for i := range w.rotated {
		rotate(k.limbs(&w.rotated[i]), k.limbs(&w.running), 4>>i)
		k.mul(&w.running, &w.running, &w.rotated[i])
	}
	k.mul(&w.leaving, &w.running, &e.plain)
	e.lane(w, 0)
	x := F(&w.coordinate)
	x.Enter(x)
	x.Invert(x)
	x.Mul(x, &e.factor)
	for lane := range 8 {
		setLane(k.limbs(&w.running), lane, x.Words())
	}
	for i := range w.rotated {
		k.mul(&w.running, &w.running, &w.rotated[len(w.rotated)-1-i])
	}
}

// rotate sets each lane of z to the lane of x that is so much further.
func rotate(z, x [][8]uint64, by int) {
	for j := range x {
		for lane := range 8 {
			z[j][lane] = x[j][(lane+by)%8]
		}
	}
}

// getLane joins the limbs of a lane, an integer that fits words.
func getLane(words []uint64, limbs [][8]uint64, lane int) {
	clear(words)
	for j := range limbs {
		word, shift := 52*j/64, 52*j%64
		words[word] |= limbs[j][lane] << shift
		if shift > 12 && word+1 < len(words) {
			words[word+1] |= limbs[j][lane] >> (64 - shift)
		}
	}
}

// setLane cuts words into the limbs of a lane.
func setLane(limbs [][8]uint64, lane int, words []uint64) {
	for j := range limbs {
		word, shift := 52*j/64, 52*j%64
		limb := words[word] >> shift
		if shift > 12 && word+1 < len(words) {
			limb |= words[word+1] << (64 - shift)
		}
		limbs[j][lane] = limb & (1<<52 - 1)
	}
}
