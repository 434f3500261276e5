package gen

import "math/big"

// ifma384 writes the kernels for P-384: 8 limbs, R = 2^416.
//
// The limbs of p are 2^32-1, 2^52-2^44, 2^52-2^24-1, four times 2^52-1, and 2^20-1; so p is its three lowest limbs,
// plus 2^364*2^20, minus 2^156. The inverse of -p modulo 2^52 is 2^32+1.
func ifma384() []byte {
	power := func(n uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), n) }
	k := &kernels{name: "ifma384", limbs: 8, prime: moduli[2].value(), reduce: reduceIFMA384, fold: foldIFMA384,
		dxMultiple: 3, xMultiple: 7, yMultiple: 5}
	minusOne := new(big.Int).Sub(power(64), power(0))
	k.constants = append(k.digits(k.prime)[:3:3], power(20), minusOne)
	return k.file()
}

func reduceIFMA384(k *kernels, i int) {
	q := k.row()
	k.op("VPSLLQ $32, %s, %s", k.acc(i), q)
	k.op("VPADDQ %s, %s, %s", k.acc(i), q, q)
	k.op("VPANDQ %s, %s, %s", k.mask(), q, q)
	for j := range 3 {
		k.op("VPMADD52LUQ %s, %s, %s", k.constant(j), q, k.acc(i+j))
		k.op("VPMADD52HUQ %s, %s, %s", k.constant(j), q, k.acc(i+j+1))
	}
	k.op("VPSUBQ %s, %s, %s", q, k.acc(i+3), k.acc(i+3))
	k.op("VPMADD52LUQ %s, %s, %s", k.constant(3), q, k.acc(i+7))
	k.op("VPMADD52HUQ %s, %s, %s", k.constant(3), q, k.acc(i+8))
	k.op("VPSRAQ $52, %s, %s", k.acc(i), k.temp())
	k.op("VPADDQ %s, %s, %s", k.temp(), k.acc(i+1), k.acc(i+1))
}

// foldIFMA384 subtracts h*p = h*(2^384 - 2^128 - 2^96 + 2^32 - 1), h being one less than what v[7], before any carry,
// has above bit 20. The carries into v[7] are between -11 and 2^5, so v - h*2^384 is between 2^384 - 11*2^364 and
// 2*2^384 + 2^369; v is at least 2.9p where fold is used, so h is not negative, and at most 8: the result is below
// 2.001p.
func foldIFMA384(k *kernels, v []string) {
	h, t := k.temp(), k.row()
	k.op("VPSRAQ $20, %s, %s", v[7], h)
	k.op("VPADDQ %s, %s, %s", k.constant(4), h, h)
	k.op("VPADDQ %s, %s, %s", h, v[0], v[0])
	k.op("VPSLLQ $32, %s, %s", h, t)
	k.op("VPSUBQ %s, %s, %s", t, v[0], v[0])
	k.op("VPSLLQ $44, %s, %s", h, t)
	k.op("VPADDQ %s, %s, %s", t, v[1], v[1])
	k.op("VPSLLQ $24, %s, %s", h, t)
	k.op("VPADDQ %s, %s, %s", t, v[2], v[2])
	k.op("VPSLLQ $20, %s, %s", h, t)
	k.op("VPSUBQ %s, %s, %s", t, v[7], v[7])
}
