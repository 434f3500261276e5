package ecbatch

import (
	"countersign/pipeline/signature/internal/ecbatch/internal/field"
)

// Adding points in affine coordinates takes 2 products and a square, and an inversion. Many additions at once share the
// inversion (Montgomery's trick), for 3 products more each: half of what an addition in Jacobian coordinates costs, and
// the sum comes out in affine coordinates, ready to be compared.
//
// The formula fails where both points have the same x: they are equal, or opposite and their sum is infinity. Signers
// can arrange that. Such a lane is reported, its sum is garbage from then on, and the caller decides it otherwise.

// adder holds the working memory of additions. It serves one goroutine.
type adder[E any, F field.Element[E]] struct {
	// dx and prefix are, for each addition, the difference of the x, and the product of all differences before it.
	dx, prefix []E
	// The working variables of addAll live here because calls through a type parameter move them to the heap.
	running, inverse, lambda, t E
}

func newAdder[E any, F field.Element[E]](additions int) *adder[E, F] {
	return &adder[E, F]{dx: make([]E, additions), prefix: make([]E, additions)}
}

// addAll adds terms[k] to sums[k] for all k, at most as many as the adder was made for. Where that fails it sets
// failed[k % len(failed)]; without failed, it must not.
func (a *adder[E, F]) addAll(sums, terms []point[E], failed []bool) {
	running, inverse, lambda, t := F(&a.running), F(&a.inverse), F(&a.lambda), F(&a.t)
	running.SetOne()
	for k := range sums {
		dx := F(&a.dx[k])
		dx.Sub(&terms[k].x, &sums[k].x)
		if dx.IsZero() {
			dx.SetOne()
			failed[k%len(failed)] = true
		}
		a.prefix[k] = a.running
		running.Mul(running, dx)
	}
	running.Invert(running)
	for k := len(sums) - 1; k >= 0; k-- {
		p, q := &sums[k], &terms[k]
		inverse.Mul(running, &a.prefix[k])
		running.Mul(running, &a.dx[k])
		t.Sub(&q.y, &p.y)
		lambda.Mul(t, inverse)
		t.Mul(lambda, lambda)
		t.Sub(t, &p.x)
		t.Sub(t, &q.x)
		// t is the sum's x.
		F(&q.x).Sub(&p.x, t)
		p.x = a.t
		t.Mul(lambda, &q.x)
		F(&p.y).Sub(t, &p.y)
	}
}
