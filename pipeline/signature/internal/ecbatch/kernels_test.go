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

// kernelCase is one curve's kernels, with the bound of stored coordinates that internal/gen/ifma.go argues with, in
// thousandths of the prime.
type kernelCase[V, E any] struct {
	k          *kernels[V, E]
	coordinate int64
}

func thousandths(prime *big.Int, n int64) *big.Int {
	v := new(big.Int).Mul(prime, number(n))
	return v.Div(v, number(1000))
}

// Products of all values below 4p, in all lanes, are right modulo the prime, tidy, and below 2p. Products with 1 don't
// exceed the prime.
func checkProducts[V, E any, F field.Element[E]](t *testing.T, c kernelCase[V, E]) {
	k := c.k
	var m E
	F(&m).SetModulus()
	prime := integer[E, F](&m)
	var x, y, z V
	limbs := len(k.limbs(&x))
	rInverse := new(big.Int).ModInverse(new(big.Int).Lsh(number(1), uint(52*limbs)), prime)
	values := kernelValues(prime, thousandths(prime, 4000), limbs)
	check := func(what string, lane int, a, b *big.Int) {
		t.Helper()
		got, tidy := laneInteger(k.limbs(&z), lane)
		want := new(big.Int).Mul(a, b)
		want.Mul(want, rInverse).Mod(want, prime)
		if !tidy || got.Cmp(thousandths(prime, 2000)) >= 0 || new(big.Int).Mod(got, prime).Cmp(want) != 0 {
			t.Fatalf("%s of %x and %x in lane %d: %x (limbs below 2^52: %v), want %x", what, a, b, lane, got, tidy, want)
		}
	}
	for _, a := range values {
		for lane := range 8 {
			setLaneInteger(k.limbs(&x), lane, a)
			setLaneInteger(k.limbs(&y), lane, number(1))
		}
		k.mul(&z, &x, &y)
		check("product with 1", 0, a, number(1))
		if got, _ := laneInteger(k.limbs(&z), 7); got.Cmp(prime) > 0 {
			t.Fatalf("the product of %x and 1 is %x, above the prime", a, got)
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

// Both passes of an addition, on all coordinates below their bound and inverses as they come out of a product: right
// modulo the prime, tidy, and within the bound again. The formula doesn't care whether the points are on the curve.
func checkSums[V, E any, F field.Element[E]](t *testing.T, c kernelCase[V, E]) {
	k := c.k
	var m E
	F(&m).SetModulus()
	prime := integer[E, F](&m)
	bound := thousandths(prime, c.coordinate)
	var running V
	limbs := len(k.limbs(&running))
	r := new(big.Int).Lsh(number(1), uint(52*limbs))
	rInverse := new(big.Int).ModInverse(r, prime)
	values := kernelValues(prime, bound, limbs)
	const n = 5
	source := rand.New(rand.NewPCG(5, 6))
	for range 400 {
		var coordinates [8][n][4]*big.Int // x1, y1, x2, y2
		sums, terms := make([]vectorPoint[V], n), make([]vectorPoint[V], n)
		for lane := range 8 {
			for i := range n {
				for {
					for j := range 4 {
						coordinates[lane][i][j] = values[source.IntN(len(values))]
					}
					d := new(big.Int).Sub(coordinates[lane][i][0], coordinates[lane][i][2])
					if d.Mod(d, prime).Sign() != 0 {
						break
					}
				}
				for j, v := range []*V{&sums[i].x, &sums[i].y, &terms[i].x, &terms[i].y} {
					setLaneInteger(k.limbs(v), lane, coordinates[lane][i][j])
				}
			}
			setLaneInteger(k.limbs(&running), lane, new(big.Int).Mod(r, prime))
		}
		dx, prefix := make([]V, n), make([]V, n)
		k.products(&running, &dx[0], &prefix[0], &sums[0], &terms[0], n)
		for lane := range 8 {
			// The inverse of xR is R/x; of what running stands for, in Montgomery form, R*R/running.
			v, tidy := laneInteger(k.limbs(&running), lane)
			if !tidy || v.Cmp(thousandths(prime, 1300)) >= 0 {
				t.Fatalf("running product %x in lane %d", v, lane)
			}
			v.ModInverse(v, prime).Mul(v, r).Mul(v, r).Mod(v, prime)
			if larger := new(big.Int).Add(v, prime); larger.Cmp(thousandths(prime, 1200)) < 0 {
				v = larger
			}
			setLaneInteger(k.limbs(&running), lane, v)
		}
		var scratch [2]V
		k.sums(&running, &dx[0], &prefix[0], &sums[0], &terms[0], n, &scratch)
		for lane := range 8 {
			for i, p := range coordinates[lane] {
				x, y := addAffine(p, prime, rInverse, r)
				for what, pair := range map[string]struct {
					v    *V
					want *big.Int
				}{"x": {&sums[i].x, x}, "y": {&sums[i].y, y}} {
					got, tidy := laneInteger(k.limbs(pair.v), lane)
					if !tidy || got.Cmp(bound) >= 0 || new(big.Int).Mod(got, prime).Cmp(pair.want) != 0 {
						t.Fatalf("%s of sum %d of %x in lane %d: %x (limbs below 2^52: %v), want %x",
							what, i, p, lane, got, tidy, pair.want)
					}
				}
			}
		}
	}
}

// addAffine is the affine addition of coordinates in Montgomery form.
func addAffine(p [4]*big.Int, prime, rInverse, r *big.Int) (x, y *big.Int) {
	mod := func(v *big.Int) *big.Int { return v.Mod(v, prime) }
	mul := func(a, b *big.Int) *big.Int { v := new(big.Int).Mul(a, b); return mod(v) }
	lambda := mod(new(big.Int).Sub(p[2], p[0]))
	lambda.ModInverse(lambda, prime)
	lambda = mul(lambda, new(big.Int).Sub(p[3], p[1])) // dy/dx: the two R cancel
	x = mul(mul(lambda, lambda), r)
	x = mod(x.Sub(x, p[0]).Sub(x, p[2]))
	y = mul(lambda, new(big.Int).Sub(p[0], x))
	return x, mod(y.Sub(y, p[1]))
}

// Every digit picks its entry, with the y it should have, in every lane.
func checkPick[V, E any, F field.Element[E]](t *testing.T, c kernelCase[V, E]) {
	k := c.k
	var m E
	F(&m).SetModulus()
	prime := integer[E, F](&m)
	values := kernelValues(prime, prime, len(k.limbs(new(V))))
	window := make([]point[E], entries)
	coordinate := func(i int) *big.Int { return values[1+i%(len(values)-1)] } // not zero: no y is
	for i := range window {
		setBytes(F(&window[i].x).Words(), coordinate(i).Bytes())
		setBytes(F(&window[i].y).Words(), coordinate(i+7).Bytes())
	}
	digits := make([]byte, 256)
	for shift := range 8 {
		for i := range digits {
			digits[i] = byte(i + shift)
		}
		points := make([]vectorPoint[V], len(digits)/8)
		k.pick(&points[0], &window[0], &digits[0], len(points))
		for i, digit := range digits {
			x, tidyX := laneInteger(k.limbs(&points[i/8].x), i%8)
			y, tidyY := laneInteger(k.limbs(&points[i/8].y), i%8)
			wantY := coordinate(int(digit&127) + 7)
			if digit < 128 {
				wantY = new(big.Int).Sub(prime, wantY)
			}
			if !tidyX || !tidyY || x.Cmp(coordinate(int(digit&127))) != 0 || y.Cmp(wantY) != 0 {
				t.Fatalf("digit %d in lane %d picks %x, %x", digit, i%8, x, y)
			}
		}
	}
}
