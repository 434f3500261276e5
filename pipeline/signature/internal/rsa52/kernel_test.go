package rsa52

// The kernel against its definition in big integers: not just the right residue
// but the same limbs, with limbs as large as a register can hold.

import (
	"crypto/rsa"
	"math/big"
	"math/rand/v2"
	"testing"
)

// needKernel skips a test on a processor that can't run the kernel.
func needKernel(t testing.TB) {
	t.Helper()
	if !Supported() {
		t.Skip("this processor has no AVX-512 IFMA: crypto/rsa verifies in the kernel's place")
	}
}

// sizes are the common ones, and where the number of blocks changes.
var sizes = []int{2048, 2049, 2568, 2569, 3072, 4096, 8192}

var one = big.NewInt(1)

func pow2(bits uint) *big.Int { return new(big.Int).Lsh(one, bits) }

// lowBits is x mod 2^bits.
func lowBits(x *big.Int, bits uint) *big.Int {
	return new(big.Int).And(x, new(big.Int).Sub(pow2(bits), one))
}

// fromLimbs is the number with these limbs.
func fromLimbs(limbs []uint64) *big.Int {
	x := new(big.Int)
	for i := len(limbs) - 1; i >= 0; i-- {
		x.Lsh(x, limbBits).Add(x, new(big.Int).SetUint64(limbs[i]))
	}
	return x
}

func setLane(dst []limb, lane int, x *big.Int) {
	limbs := make([]uint64, len(dst))
	toLimbs(limbs, x)
	for i := range dst {
		dst[i][lane] = limbs[i]
	}
}

func getLane(src []limb, lane int) *big.Int {
	limbs := make([]uint64, len(src))
	for i := range src {
		limbs[i] = src[i][lane]
	}
	return fromLimbs(limbs)
}

// reduced is the package comment's reduction of a product, cut to L limbs.
func (k *Key) reduced(t *big.Int) *big.Int {
	fold, n, inverse := fromLimbs(k.fold[:]), fromLimbs(k.n[:]), fromLimbs(k.inverse[:])
	for range k.blocks - 1 {
		q := lowBits(t, blockBits)
		t = new(big.Int).Rsh(t, blockBits)
		t.Add(t, q.Mul(q, fold))
	}
	p := lowBits(new(big.Int).Mul(lowBits(t, blockBits), inverse), blockBits)
	t = new(big.Int).Add(t, p.Mul(p, n))
	return lowBits(t.Rsh(t, blockBits), uint(k.blocks)*blockBits)
}

// extremes are keys whose constants are as large or as small as they get, and random ones.
func extremes(bits int) []*Key {
	rng := rand.New(rand.NewPCG(1, uint64(bits)))
	moduli := []*big.Int{
		new(big.Int).Sub(pow2(uint(bits)), one),
		new(big.Int).Add(pow2(uint(bits-1)), one),
		new(big.Int).SetBit(new(big.Int).SetBit(randomBits(rng, bits), bits-1, 1), 0, 1),
	}
	var keys []*Key
	for _, n := range moduli {
		keys = append(keys, New(&rsa.PublicKey{N: n, E: exponent}))
	}
	// No key has constants like these; the kernel has to bear them all the same.
	full := New(&rsa.PublicKey{N: moduli[0], E: exponent})
	limbs := int(full.blocks) * width
	for i := range limbs {
		full.n[i], full.fold[i], full.factor[i], full.addend[i] = limbMask, limbMask, limbMask, limbMask
	}
	full.inverse = [width]uint64{1} // -1/n mod W, as n is -1
	return append(keys, full)
}

func randomBits(rng *rand.Rand, bits int) *big.Int {
	x := new(big.Int)
	for range (bits + 63) / 64 {
		x.Lsh(x, 64).Or(x, new(big.Int).SetUint64(rng.Uint64()))
	}
	return lowBits(x, uint(bits))
}

// operands are the numbers to put in the eight lanes: the edges and random ones.
func operands(rng *rand.Rand, k *Key) [lanes]*big.Int {
	n := fromLimbs(k.n[:])
	bits := uint(k.blocks) * blockBits
	all := new(big.Int).Sub(pow2(bits), one)
	thrice := new(big.Int).Mul(n, big.NewInt(3))
	ops := [lanes]*big.Int{
		all, new(big.Int), one, n, new(big.Int).Sub(n, one),
		lowBits(thrice.Sub(thrice, one), bits), randomBits(rng, int(bits)), randomBits(rng, n.BitLen()-1),
	}
	rng.Shuffle(lanes, func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
	return ops
}

func TestSquareIsExact(t *testing.T) {
	needKernel(t)
	rng := rand.New(rand.NewPCG(2, 2))
	for _, bits := range sizes {
		for number, k := range extremes(bits) {
			for _, count := range []uint64{1, 2, 16} {
				w := dirty(rng)
				limbs := int(k.blocks) * width
				ops := operands(rng, k)
				for lane, x := range ops {
					setLane(w.s[:limbs], lane, x)
				}
				square(w, &k.constants, k.blocks, count)
				for lane, x := range ops {
					want := x
					for range count {
						want = k.reduced(new(big.Int).Mul(want, want))
					}
					if got := getLane(w.x[:limbs], lane); got.Cmp(want) != 0 {
						t.Fatalf("%d bits, key %d, lane %d, %d squarings of %x:\n got %x\nwant %x", bits, number, lane, count, x, got, want)
					}
				}
			}
		}
	}
}

func TestFinishIsExact(t *testing.T) {
	needKernel(t)
	rng := rand.New(rand.NewPCG(3, 3))
	for _, bits := range sizes {
		for number, k := range extremes(bits) {
			for round := range 4 {
				w := dirty(rng)
				limbs := int(k.blocks) * width
				s, x := operands(rng, k), operands(rng, k)
				var h [lanes]*big.Int
				for lane := range lanes {
					h[lane] = randomBits(rng, blockBits)
					if round == 0 { // the largest columns possible
						all := new(big.Int).Sub(pow2(uint(limbs*limbBits)), one)
						s[lane], x[lane], h[lane] = all, all, lowBits(all, blockBits)
					}
					setLane(w.s[:limbs], lane, s[lane])
					setLane(w.x[:limbs], lane, x[lane])
					setLane(w.h[:], lane, h[lane])
				}
				finish(w, &k.constants, k.blocks)
				for lane := range lanes {
					want := new(big.Int).Mul(h[lane], fromLimbs(k.factor[:]))
					want.Add(want, fromLimbs(k.addend[:]))
					want = k.reduced(want.Add(want, new(big.Int).Mul(s[lane], x[lane])))
					if got := getLane(w.x[:limbs], lane); got.Cmp(want) != 0 {
						t.Fatalf("%d bits, key %d, lane %d, round %d:\n got %x\nwant %x", bits, number, lane, round, got, want)
					}
				}
			}
		}
	}
}

// finish reports n and 2n, and not a number that differs from them in a single limb.
func TestFinishReportsMultiplesOfN(t *testing.T) {
	needKernel(t)
	rng := rand.New(rand.NewPCG(4, 4))
	for _, bits := range sizes {
		k := extremes(bits)[2]
		limbs := int(k.blocks) * width
		n := fromLimbs(k.n[:])
		met := make(map[string]bool) // results seen: n, 2n, or off by a limb
		for off := -1; off < limbs-1; off++ {
			s, x := randomBits(rng, bits-1), randomBits(rng, bits-1)
			// The addend that makes the result 0 mod n, or 2^(52*off).
			sum := new(big.Int).Mul(s, x)
			sum.Neg(sum)
			if off >= 0 {
				sum.Add(sum, new(big.Int).Lsh(one, uint(limbs+off)*limbBits))
			}
			toLimbs(k.addend[:], sum.Mod(sum, n))
			w := dirty(rng)
			w.h = [width]limb{}
			for lane := range lanes {
				setLane(w.s[:limbs], lane, s)
				setLane(w.x[:limbs], lane, x)
			}
			equal := finish(w, &k.constants, k.blocks)
			z := getLane(w.x[:limbs], 0)
			multiples, rest := new(big.Int).DivMod(z, n, new(big.Int))
			met[multiples.String()+"n"] = true
			if off < 0 && (rest.Sign() != 0 || equal != 0xff) || off >= 0 && (rest.Sign() == 0 || equal != 0) {
				t.Errorf("%d bits, off by limb %d: lanes %08b reported for %s*n + %x", bits, off, equal, multiples, rest)
			}
		}
		if !met["1n"] {
			t.Errorf("%d bits: only results %v, so the comparison wasn't tested", bits, met)
		}
	}
}

// dirty is work memory full of what a kernel must not depend on. The digests'
// upper limbs are zero, as Verify keeps them.
func dirty(rng *rand.Rand) *work {
	w := new(work)
	for _, limbs := range [][]limb{w.s[:], w.x[:], w.t[:], w.q[:], w.p[:]} {
		for i := range limbs {
			for lane := range lanes {
				limbs[i][lane] = rng.Uint64()
			}
		}
	}
	return w
}
