package ecbatch

import (
	"math/big"

	"countersign/pipeline/signature/internal/ecbatch/internal/field"
)

// A fixed point B is multiplied by a scalar without a single doubling: the scalar's bytes select one entry each from a
// table of multiples of B, and the entries are summed.
//
// Digits are signed and odd. For a scalar u, let v = (u + 256^windows - 1)/2 modulo the order, with bytes v[j]. Then
//
//	u = sum (2*v[j] - 255) * 256^j    modulo the order
//
// and every digit 2*v[j]-255 is odd, between -255 and 255, never zero: no entry is the point at infinity, and only the
// 128 positive multiples need storing. (v can be anything below the order: 256^windows exceeds it.)

// entries is the number of points stored for each byte of a scalar: 1, 3, 5 ... 255 times 256^j B.
const entries = 128

// point is a point of the curve, not infinity, with affine coordinates in Montgomery form.
type point[E any] struct {
	x, y E
}

// affine is a point in Montgomery form.
func affine[E any, F field.Element[E]](x, y *big.Int) point[E] {
	var p point[E]
	setBytes(F(&p.x).Words(), x.Bytes())
	setBytes(F(&p.y).Words(), y.Bytes())
	F(&p.x).Enter(&p.x)
	F(&p.y).Enter(&p.y)
	return p
}

// comb is the table of one point, entries points for each byte of a scalar.
type comb[E any] []point[E]

// newComb builds the table of base, a point of order n given in Montgomery form. It takes some 4,000 (P-256) or 6,000
// (P-384) additions.
func newComb[E any, F field.Element[E]](base point[E]) comb[E] {
	var size E
	windows := 8 * len(F(&size).Words())
	doubles := doublings[E, F](base, 8*windows)
	table := make(comb[E], windows*entries)
	for j := range windows {
		table[j*entries] = doubles[8*j]
	}
	// The odd multiples below 2^(t+1) are those below 2^t, and those plus 2^t. No two summands are equal or opposite:
	// an odd number below 2^8 and a power of two are different, as is their sum from the order.
	adder := newAdder[E, F](windows * entries / 2)
	sums, terms := make([]point[E], windows*entries/2), make([]point[E], windows*entries/2)
	for t := 1; t < 8; t++ {
		have := 1 << (t - 1)
		for j := range windows {
			copy(sums[j*have:], table[j*entries:j*entries+have])
			for i := range have {
				terms[j*have+i] = doubles[8*j+t]
			}
		}
		adder.addAll(sums[:windows*have], terms[:windows*have], nil)
		for j := range windows {
			copy(table[j*entries+have:], sums[j*have:(j+1)*have])
		}
	}
	return table
}

// toDigits turns eight bytes v[j] into digits: bits 0 to 6 are the index of a table's entry, bit 7 is set if the entry
// is to be taken as it is, and clear if negated. For v[j] >= 128 that is the byte itself: 2*v[j]-255 = 2*(v[j]-128)+1.
// For others it is 127-v[j], bit 7 clear.
func toDigits(v uint64) uint64 {
	negative := ^v >> 7 & 0x0101010101010101
	return v ^ negative*0x7f
}

// pick sets p to the multiple of 256^window B that a digit stands for.
func pick[E any, F field.Element[E]](p *point[E], table comb[E], window int, digit byte) {
	*p = table[window*entries+int(digit&0x7f)]
	if digit&0x80 == 0 {
		F(&p.y).Neg(&p.y)
	}
}

// doublings returns base, 2 base, 4 base ... 2^(count-1) base. It doubles in Jacobian coordinates (x = X/Z^2, y =
// Y/Z^3), by the formula "dbl-2001-b" of the Explicit-Formulas Database, and divides by all Z at once.
func doublings[E any, F field.Element[E]](base point[E], count int) []point[E] {
	points := make([]point[E], count)
	zs, prefix := make([]E, count), make([]E, count)
	var alpha, beta, gamma, delta, t, z, running E
	points[0] = base
	F(&zs[0]).SetOne()
	for i := 1; i < count; i++ {
		p, q := &points[i-1], &points[i]
		z = zs[i-1]
		F(&delta).Mul(&z, &z)
		F(&gamma).Mul(&p.y, &p.y)
		F(&beta).Mul(&p.x, &gamma)
		F(&alpha).Sub(&p.x, &delta)
		F(&t).Add(&p.x, &delta)
		F(&alpha).Mul(&alpha, &t)
		F(&t).Add(&alpha, &alpha)
		F(&alpha).Add(&alpha, &t)
		F(&t).Add(&p.y, &z)
		F(&t).Mul(&t, &t)
		F(&t).Sub(&t, &gamma)
		F(&zs[i]).Sub(&t, &delta)
		F(&beta).Add(&beta, &beta)
		F(&beta).Add(&beta, &beta)
		F(&q.x).Mul(&alpha, &alpha)
		F(&q.x).Sub(&q.x, &beta)
		F(&q.x).Sub(&q.x, &beta)
		F(&t).Sub(&beta, &q.x)
		F(&q.y).Mul(&alpha, &t)
		F(&gamma).Mul(&gamma, &gamma)
		for range 3 {
			F(&gamma).Add(&gamma, &gamma)
		}
		F(&q.y).Sub(&q.y, &gamma)
	}
	F(&running).SetOne()
	for i := range zs {
		prefix[i] = running
		F(&running).Mul(&running, &zs[i])
	}
	F(&running).Invert(&running)
	for i := count - 1; i >= 0; i-- {
		F(&z).Mul(&running, &prefix[i])
		F(&running).Mul(&running, &zs[i])
		F(&t).Mul(&z, &z)
		F(&points[i].x).Mul(&points[i].x, &t)
		F(&t).Mul(&t, &z)
		F(&points[i].y).Mul(&points[i].y, &t)
	}
	return points
}
