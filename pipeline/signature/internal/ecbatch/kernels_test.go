package ecbatch

import (
	"math/big"
	"math/rand/v2"
	"testing"

	"countersign/pipeline/signature/internal/ecbatch/internal/field"
)

// laneInteger is the integer in a lane, whatever its size, and whether all of its limbs are below 2^52.
func laneInteger(limbs [][8]uint64, lane int) (n *big.Int, tidy bool) {
	n, tidy = new(big.Int), true
	for j := len(limbs) - 1; j >= 0; j-- {
		n.Lsh(n, 52).Add(n, new(big.Int).SetUint64(limbs[j][lane]))
		tidy = tidy && limbs[j][lane] < 1<<52
	}
	return n, tidy
}

func setLaneInteger(limbs [][8]uint64, lane int, n *big.Int) {
	mask := new(big.Int).Sub(new(big.Int).Lsh(number(1), 52), number(1))
	for j := range limbs {
		limb := new(big.Int).Rsh(n, uint(52*j))
		limbs[j][lane] = limb.And(limb, mask).Uint64()
	}
}

// kernelValues are integers below limit: around 0, multiples of the prime, the limit, with limbs all ones or zero.
func kernelValues(prime, limit *big.Int, limbs int) []*big.Int {
	source := rand.New(rand.NewPCG(3, 4))
	var values []*big.Int
	add := func(n *big.Int) {
		if n.Sign() >= 0 && n.Cmp(limit) < 0 {
			values = append(values, n)
		}
	}
	for d := int64(-1); d <= 1; d++ {
		for m := int64(0); m <= 16; m++ {
			add(new(big.Int).Add(new(big.Int).Mul(prime, number(m)), number(d)))
		}
		add(new(big.Int).Add(limit, number(d)))
		for j := 1; j < limbs; j++ {
			add(new(big.Int).Add(new(big.Int).Lsh(number(1), uint(52*j)), number(d)))
			top := new(big.Int).Lsh(new(big.Int).Rsh(limit, uint(52*j)), uint(52*j))
			add(top.Add(top, number(d)))
		}
	}
	for range 60 {
		n := new(big.Int)
		for range limbs {
			limb := source.Uint64() >> 12
			switch source.IntN(4) {
			case 0:
				limb = 0
			case 1:
				limb = 1<<52 - 1
			}
			n.Lsh(n, 52).Or(n, new(big.Int).SetUint64(limb))
		}
		add(n.Mod(n, limit))
	}
	return values
}

// kernelCase is one curve's kernels, with the bounds that internal/gen/ifma.go argues with, in thousandths of the prime.
type kernelCase[V, E any] struct {
	k                    *kernels[V, E]
	factor, coordinate   int64 // bound of a product's operands, of a stored coordinate
	difference, inverted int64 // bound of a difference of coordinates, of a running product and of its inverse
}

func thousandths(prime *big.Int, n int64) *big.Int {
	v := new(big.Int).Mul(prime, number(n))
	return v.Div(v, number(1000))
}

// Products of all values below their bound, in all lanes: right modulo the prime, tidy, below 2p.
func checkProducts[V, E any, F field.Element[E]](t *testing.T, c kernelCase[V, E]) {
	k := c.k
	var m E
	F(&m).SetModulus()
	prime := integer[E, F](&m)
	var x, y, z V
	limbs := len(k.limbs(&x))
	rInverse := new(big.Int).ModInverse(new(big.Int).Lsh(number(1), uint(52*limbs)), prime)
	values := kernelValues(prime, thousandths(prime, c.factor), limbs)
	check := func(what string, lane int, a, b *big.Int) {
		t.Helper()
		got, tidy := laneInteger(k.limbs(&z), lane)
		want := new(big.Int).Mul(a, b)
		want.Mul(want, rInverse).Mod(want, prime)
		if !tidy || got.Cmp(thousandths(prime, 2000)) >= 0 || new(big.Int).Mod(got, prime).Cmp(want) != 0 {
			t.Fatalf("%s of %x and %x in lane %d: %x (limbs below 2^52: %v), want %x", what, a, b, lane, got, tidy, want)
		}
	}
	for i := range values {
		for first := 0; first < len(values); first += 8 {
			operand := func(lane int) *big.Int { return values[(first+lane)%len(values)] }
			for lane := range 8 {
				setLaneInteger(k.limbs(&x), lane, values[i])
				setLaneInteger(k.limbs(&y), lane, operand(lane))
			}
			k.mul(&z, &x, &y)
			for lane := range 8 {
				check("product", lane, values[i], operand(lane))
			}
		}
	}
}
