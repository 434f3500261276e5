package fastrsa

// Arithmetic modulo a prime of one word: Montgomery's multiplication with R = 2^64 (Montgomery, "Modular multiplication
// without trial division", 1985).

import (
	"encoding/binary"
	"math/bits"
)

// modulus is an odd prime p with its top bit set.
type modulus struct {
	p        uint64
	negative uint64 // -1/p modulo R
	one      uint64 // R modulo p
	square   uint64 // R^2 modulo p
}

func newModulus(p uint64) modulus {
	inverse := p // correct to three bits; each step doubles them
	for range 5 {
		inverse *= 2 - p*inverse
	}
	one := -p // R - p, which is below p
	return modulus{p: p, negative: -inverse, one: one, square: rem(one, 0, p)}
}

// rem is hi*2^64+lo modulo p, for hi below p.
func rem(hi, lo, p uint64) uint64 {
	_, r := bits.Div64(hi, lo, p)
	return r
}

// multiply is a*b/R modulo p, for a and b below p.
func (m *modulus) multiply(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	h, l := bits.Mul64(lo*m.negative, m.p)
	_, carry := bits.Add64(lo, l, 0)
	t, over := bits.Add64(hi, h, carry)
	if over == 1 || t >= m.p {
		t -= m.p
	}
	return t
}

// add is a+b modulo p, for a and b below p.
func (m *modulus) add(a, b uint64) uint64 {
	t, over := bits.Add64(a, b, 0)
	if over == 1 || t >= m.p {
		t -= m.p
	}
	return t
}

// enter is a in Montgomery form.
func (m *modulus) enter(a uint64) uint64 { return m.multiply(a, m.square) }

// reduce is a big-endian number of whole words modulo p.
func (m *modulus) reduce(number []byte) uint64 {
	r := uint64(0)
	for ; len(number) >= 8; number = number[8:] {
		r = rem(r, binary.BigEndian.Uint64(number), m.p)
	}
	return r
}
