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

// signature is one signature that is well formed and in range: r, s and the digest e as plain integers; then the digits.
type signature[O any] struct {
	r, s, e O
	// prefix is the product of all s before this one.
	prefix O
	// u1 and u2 are the scalars of the generator and of the key, as comb.go's v.
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

// recode computes u1 and u2 of all signatures. work[0] and work[1] are clobbered.
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
		N(&sig.u1).Mul(&sig.e, inverse)
		N(&sig.u1).Add(&sig.u1, &c.offset)
		N(&sig.u2).Mul(&sig.r, inverse)
		N(&sig.u2).Add(&sig.u2, &c.offset)
	}
}
