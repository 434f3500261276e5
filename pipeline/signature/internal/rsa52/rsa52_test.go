package rsa52

// What surrounds the kernel. Verdicts are tested one package up, against the
// standard library.

import (
	"crypto/rsa"
	"math/big"
	"math/rand/v2"
	"testing"
)

// Every bit of a number ends up in its limb of its lane, other lanes are left
// alone, and no limb keeps what it held.
func TestSpread(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	for _, c := range []struct{ bytes, limbs int }{{32, digestLimbs}, {256, 40}, {257, 50}, {321, 50}, {384, 60}, {512, 80}, {1024, 160}} {
		for lane := range lanes {
			number := make([]byte, c.bytes)
			for i := range number {
				number[i] = byte(rng.Uint32()) | byte(lane)<<5 // all ones in the last lane's upper bits
			}
			before := dirty(rng).s
			after := before
			spread(after[:c.limbs], lane, number)
			if got, want := getLane(after[:c.limbs], lane), new(big.Int).SetBytes(number); got.Cmp(want) != 0 {
				t.Errorf("%d bytes, lane %d: got %x, want %x", c.bytes, lane, got, want)
			}
			for i := range after {
				if i < c.limbs {
					if after[i][lane] > limbMask {
						t.Errorf("%d bytes, lane %d: limb %d is %x", c.bytes, lane, i, after[i][lane])
					}
					after[i][lane] = before[i][lane]
				}
			}
			if after != before {
				t.Errorf("%d bytes, lane %d: another lane was written", c.bytes, lane)
			}
		}
	}
}

func TestOnlyKeysOfTheKernelFit(t *testing.T) {
	modulus := func(bits uint) *big.Int { return new(big.Int).Add(pow2(bits-1), one) }
	for _, c := range []struct {
		n    *big.Int
		e    int
		fits bool
	}{
		{modulus(2048), 65537, true}, {modulus(2049), 65537, true}, {modulus(4096), 65537, true}, {modulus(8192), 65537, true},
		{modulus(2047), 65537, false}, {modulus(8193), 65537, false}, {pow2(2047), 65537, false},
		{modulus(2048), 3, false}, {modulus(2048), 65535, false}, {modulus(2048), 65539, false},
	} {
		pub := &rsa.PublicKey{N: c.n, E: c.e}
		if Fits(pub) != c.fits {
			t.Errorf("%d bits, exponent %d: Fits is %v", c.n.BitLen(), c.e, !c.fits)
		}
		func() {
			defer func() {
				if (recover() == nil) != c.fits {
					t.Errorf("%d bits, exponent %d: whether New panics differs from Fits", c.n.BitLen(), c.e)
				}
			}()
			New(pub)
		}()
	}
}

// The constants are what the package comment says, and within the bounds it argues from.
func TestConstants(t *testing.T) {
	for _, bits := range sizes {
		for _, k := range extremes(bits)[:3] {
			n := fromLimbs(k.n[:])
			radix := pow2(uint(k.blocks) * blockBits)
			if new(big.Int).Lsh(n, 32).Cmp(radix) > 0 {
				t.Errorf("%d bits: R is below 2^32*n", bits)
			}
			product := func(a, b, m *big.Int) *big.Int { p := new(big.Int).Mul(a, b); return p.Mod(p, m) }
			fold, factor, inverse := fromLimbs(k.fold[:]), fromLimbs(k.factor[:]), fromLimbs(k.inverse[:])
			minusOne := new(big.Int).Sub(pow2(blockBits), one)
			power := new(big.Int).Exp(radix, big.NewInt(65535), n)
			if fold.Cmp(n) >= 0 || product(fold, pow2(blockBits), n).Cmp(one) != 0 {
				t.Errorf("%d bits: fold isn't W^-1", bits)
			}
			if product(inverse, n, pow2(blockBits)).Cmp(minusOne) != 0 {
				t.Errorf("%d bits: inverse isn't -1/n", bits)
			}
			if factor.Cmp(n) >= 0 || product(factor, power, n).Cmp(new(big.Int).Sub(n, one)) != 0 {
				t.Errorf("%d bits: factor isn't -R^-65535", bits)
			}
			if addend := fromLimbs(k.addend[:]); addend.Sign() == 0 || addend.Cmp(product(factor, padding((bits+7)/8), n)) != 0 {
				t.Errorf("%d bits: addend isn't C*factor", bits)
			}
			if fromLimbs(k.twice[:]).Cmp(new(big.Int).Lsh(n, 1)) != 0 {
				t.Errorf("%d bits: twice isn't 2n", bits)
			}
		}
	}
}
