package gen

import "math/big"

// ifma256 writes the kernels for P-256: 5 limbs, R = 2^260.
//
// p + 1 = 2^96 + 2^192 + 2^208*(2^48 - 2^16), and p is -1 modulo 2^52. So with q the lowest limb of t, t + q*p is
// t - q + q*(p+1): t without that limb, plus three products by the limbs 2^44, 2^36 and 2^48-2^16 at places 1, 3 and 4.
func ifma256() []byte {
	power := func(n uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), n) }
	k := &kernels{
		name:      "ifma256",
		limbs:     5,
		prime:     moduli[0].value(),
		constants: []*big.Int{power(44), power(36), new(big.Int).Sub(power(48), power(16))},
		reduce:    reduceIFMA256,
		fold:      foldIFMA256,

		dxMultiple: 2, xMultiple: 4, yMultiple: 3,
	}
	return k.file()
}

func reduceIFMA256(k *kernels, i int) {
	q := k.acc(i)
	k.op("VPSRLQ $52, %s, %s", q, k.temp())
	k.op("VPMADD52LUQ %s, %s, %s", k.constant(0), q, k.acc(i+1))
	k.op("VPMADD52HUQ %s, %s, %s", k.constant(0), q, k.acc(i+2))
	k.op("VPMADD52LUQ %s, %s, %s", k.constant(1), q, k.acc(i+3))
	k.op("VPMADD52HUQ %s, %s, %s", k.constant(1), q, k.acc(i+4))
	k.op("VPMADD52LUQ %s, %s, %s", k.constant(2), q, k.acc(i+4))
	k.op("VPMADD52HUQ %s, %s, %s", k.constant(2), q, k.acc(i+5))
	k.op("VPADDQ %s, %s, %s", k.temp(), k.acc(i+1), k.acc(i+1))
}

// foldIFMA256 subtracts h*p = h*(2^256 - 2^224 + 2^192 + 2^96 - 1), h being what v[4], before any carry, has above bit
// 48. The carries into v[4] are between -3 and 2^5, so v - h*2^256 is between -3*2^208 and 2^256 + 2^213; v is at least
// 1.9p where fold is used, so h is at least 1, and at most 8: the result is between 0 and 2^256 + 2^228.
func foldIFMA256(k *kernels, v []string) {
	h, t := k.temp(), k.row()
	k.op("VPSRAQ $48, %s, %s", v[4], h)
	k.op("VPADDQ %s, %s, %s", h, v[0], v[0])
	k.op("VPSLLQ $44, %s, %s", h, t)
	k.op("VPSUBQ %s, %s, %s", t, v[1], v[1])
	k.op("VPSLLQ $36, %s, %s", h, t)
	k.op("VPSUBQ %s, %s, %s", t, v[3], v[3])
	k.op("VPSLLQ $48, %s, %s", h, t)
	k.op("VPSUBQ %s, %s, %s", t, v[4], v[4])
	k.op("VPSLLQ $16, %s, %s", h, t)
	k.op("VPADDQ %s, %s, %s", t, v[4], v[4])
}
