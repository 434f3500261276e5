package ecbatch

import (
	"countersign/pipeline/signature/internal/ecbatch/internal/field"
)

// ECDSA (FIPS 186-5, section 6.4.2) accepts if the x coordinate of u1*G + u2*Q equals r modulo the order n, where
// u1 = e/s, u2 = r/s and e is the digest. This file computes u1 and u2 for many signatures with one inversion, already
// in the digits that comb.go asks for.

// scalars computes modulo the order whose elements are O.
type scalars[O any, N field.Element[O]] struct {
	// half is 1/2 and offset is (256^windows - 1)/2, neither in Montgomery form.
	half, offset O
	order        O
}

func newScalars[O any, N field.Element[O]]() *scalars[O, N] {
	c := new(scalars[O, N])
	N(&c.order).SetModulus()
	var one, two O
	N(&one).SetOne()
	N(&two).Add(&one, &one)
	N(&c.half).Invert(&two)
	N(&c.half).Leave(&c.half)
	// 256^windows is R, so its value modulo n is one; the rest is not in Montgomery form.
	minusOne := new(O)
	N(minusOne).Words()[0] = 1
	N(&c.offset).Sub(&one, minusOne)
	N(&two).Enter(&c.half)
	N(&c.offset).Mul(&c.offset, &two)
	return c
}

// signature is one signature that is well formed and in range: r, s and the digest e as plain integers; then the
// digits.
type signature[O any] struct {
	r, s, e O
	// prefix is the product of all s before this one.
	prefix O
	// u1 and u2 are the digits of the generator's and the key's scalar.
	u1, u2 O
}

// set fills in a signature, and tells whether it is well formed with 0 < r, s < n.
func (c *scalars[O, N]) set(sig *signature[O], digest *[32]byte, der []byte) bool {
	r, s, ok := parse(der)
	if !ok || !setBytes(N(&sig.r).Words(), r) || !setBytes(N(&sig.s).Words(), s) {
		return false
	}
	if N(&sig.r).IsZero() || N(&sig.s).IsZero() || !N(&sig.r).Less(&c.order) || !N(&sig.s).Less(&c.order) {
		return false
	}
	return setBytes(N(&sig.e).Words(), digest[:])
}

// recode computes the digits u1 and u2 of all signatures. work is clobbered.
//
// Products are x*y/R here. Read s as the Montgomery form of s/R; then the inverse of the running product is that of
// the s/R, and starting from it times 1/2 leaves R/(2s) for each signature, which multiplies plain integers exactly.
func (c *scalars[O, N]) recode(signatures []signature[O], work *[2]O) {
	running, inverse := N(&work[0]), N(&work[1])
	running.SetOne()
	for i := range signatures {
		signatures[i].prefix = work[0]
		running.Mul(running, &signatures[i].s)
	}
	running.Invert(running)
	running.Mul(running, &c.half)
	for i := len(signatures) - 1; i >= 0; i-- {
		sig := &signatures[i]
		inverse.Mul(running, &sig.prefix)
		running.Mul(running, &sig.s)
		c.digits(N(&sig.u1), &sig.e, &work[1])
		c.digits(N(&sig.u2), &sig.r, &work[1])
	}
}

// digits sets u to the digits of x/s, given R/(2s).
func (c *scalars[O, N]) digits(u N, x, inverse *O) {
	u.Mul(x, inverse)
	u.Add((*O)(u), &c.offset)
	words := u.Words()
	for i, v := range words {
		words[i] = toDigits(v)
	}
}

// batch is the working memory for the scalars of a block of signatures, and the way from and to the caller's slices.
type batch[O any, N field.Element[O]] struct {
	scalars    *scalars[O, N]
	signatures []signature[O]
	index      []int // which signature of the block each of signatures is
	work       [2]O
	digest     [32]byte
}

func newBatch[O any, N field.Element[O]]() batch[O, N] {
	return batch[O, N]{scalars: newScalars[O, N](), signatures: make([]signature[O], block), index: make([]int, block)}
}

// open refuses what isn't well formed or in range, and returns the rest with its digits.
func (b *batch[O, N]) open(results []result, digests [][32]byte, signatures [][]byte) []signature[O] {
	n := 0
	for i := range results {
		results[i] = refused
		b.digest = digests[i]
		if b.scalars.set(&b.signatures[n], &b.digest, signatures[i]) {
			b.index[n] = i
			n++
		}
	}
	if n > 0 {
		b.scalars.recode(b.signatures[:n], &b.work)
	}
	return b.signatures[:n]
}

// settle accepts signature i of those that open returned if x, an integer below the field's prime, is r modulo the
// order.
func (b *batch[O, N]) settle(results []result, i int, x []uint64) {
	v := N(&b.work[0])
	copy(v.Words(), x)
	if !v.Less(&b.scalars.order) {
		// The field's prime is below twice the order: this is x - n exactly.
		v.Sub(&b.work[0], &b.scalars.order)
	}
	v.Sub(&b.work[0], &b.signatures[i].r)
	if v.IsZero() {
		results[b.index[i]] = accepted
	}
}
