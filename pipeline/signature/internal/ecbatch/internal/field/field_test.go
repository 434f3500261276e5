package field

import (
	"math/big"
	"math/rand/v2"
	"testing"
)

// number reads an element's limbs.
func number[E any, P Element[E]](x *E) *big.Int {
	n := new(big.Int)
	words := P(x).Words()
	for i := len(words) - 1; i >= 0; i-- {
		n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(words[i]))
	}
	return n
}

func element[E any, P Element[E]](n *big.Int) *E {
	x := new(E)
	for i := range P(x).Words() {
		P(x).Words()[i] = new(big.Int).Rsh(n, uint(64*i)).Uint64()
	}
	return x
}

// interesting is values at which carries and borrows happen, and random ones: all below R.
func interesting(modulus, r *big.Int) []*big.Int {
	source := rand.New(rand.NewPCG(1, 2))
	var values []*big.Int
	add := func(n *big.Int) {
		if n.Sign() >= 0 && n.Cmp(r) < 0 {
			values = append(values, n)
		}
	}
	for d := int64(-2); d <= 2; d++ {
		add(big.NewInt(d))
		add(new(big.Int).Add(modulus, big.NewInt(d)))
		add(new(big.Int).Add(r, big.NewInt(d)))
		add(new(big.Int).Add(new(big.Int).Rsh(modulus, 1), big.NewInt(d)))
		for shift := uint(32); shift < uint(r.BitLen()); shift += 32 {
			add(new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), shift), big.NewInt(d)))
		}
	}
	for range 50 {
		n := new(big.Int)
		for n.BitLen() < r.BitLen() {
			word := source.Uint64()
			switch source.IntN(4) {
			case 0:
				word = 0
			case 1:
				word = ^uint64(0)
			}
			n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(word))
			if n.Sign() == 0 {
				break
			}
		}
		add(n.Mod(n, r))
	}
	return values
}

func testField[E any, P Element[E]](t *testing.T) {
	var m E
	P(&m).SetModulus()
	modulus := number[E, P](&m)
	r := new(big.Int).Lsh(big.NewInt(1), uint(64*len(P(&m).Words())))
	rInverse := new(big.Int).ModInverse(r, modulus)
	mod := func(n *big.Int) *big.Int { return n.Mod(n, modulus) }
	check := func(what string, got *E, want *big.Int) {
		t.Helper()
		if number[E, P](got).Cmp(want) != 0 {
			t.Fatalf("%s = %x, want %x", what, number[E, P](got), want)
		}
	}
	var one, z E
	P(&one).SetOne()
	check("one", &one, mod(new(big.Int).Set(r)))
	values := interesting(modulus, r)
	for _, a := range values {
		x := element[E, P](a)
		P(&z).Enter(x)
		check("enter", &z, mod(new(big.Int).Mul(a, r)))
		P(&z).Leave(x)
		check("leave", &z, mod(new(big.Int).Mul(a, rInverse)))
		if P(x).IsZero() != (a.Sign() == 0) {
			t.Fatalf("IsZero(%x)", a)
		}
		for _, b := range values {
			y := element[E, P](b)
			if P(x).Less(y) != (a.Cmp(b) < 0) {
				t.Fatalf("%x < %x is wrong", a, b)
			}
			if b.Cmp(modulus) >= 0 {
				continue
			}
			P(&z).Mul(x, y)
			check("mul", &z, mod(new(big.Int).Mul(new(big.Int).Mul(a, b), rInverse)))
			if a.Cmp(modulus) >= 0 {
				continue
			}
			P(&z).Add(x, y)
			check("add", &z, mod(new(big.Int).Add(a, b)))
			P(&z).Sub(x, y)
			check("sub", &z, mod(new(big.Int).Sub(a, b)))
		}
		if a.Cmp(modulus) < 0 {
			P(&z).Neg(x)
			check("neg", &z, mod(new(big.Int).Neg(a)))
			P(&z).Invert(x)
			P(&z).Mul(&z, x)
			if a.Sign() == 0 {
				check("zero's inverse", &z, a)
			} else {
				check("inverse", &z, number[E, P](&one))
			}
			P(x).Sub(x, x)
			check("aliased sub", x, new(big.Int))
		}
	}
}

// Every operation agrees with math/big on all pairs of values around 0, the modulus, R and limb boundaries.
func TestArithmetic(t *testing.T) {
	t.Run("P256", testField[P256])
	t.Run("P256Order", testField[P256Order])
	t.Run("P384", testField[P384])
	t.Run("P384Order", testField[P384Order])
}

func BenchmarkMul(b *testing.B) {
	b.Run("P256", benchmarkMul[P256])
	b.Run("P256Order", benchmarkMul[P256Order])
	b.Run("P384", benchmarkMul[P384])
	b.Run("P384Order", benchmarkMul[P384Order])
}

func benchmarkMul[E any, P Element[E]](b *testing.B) {
	x, y := new(E), new(E)
	P(x).SetOne()
	P(y).SetOne()
	P(x).Add(x, y)
	for b.Loop() {
		P(x).Mul(x, y)
	}
}
