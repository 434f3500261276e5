package rsa52

// The arithmetic, and the proof of its bounds.
//
// A number is L limbs of 52 bits, in blocks of ten: L = 40 for 2048 bits, 60
// for 3072, 80 for 4096. R = 2^(52L) and W = 2^520, one block; L is chosen so
// that R >= 2^32*n. A signature s is valid if s < n and
//
//	s^65537 = EM = C + H (mod n)
//
// where EM is the padded digest (RFC 8017, section 9.2), H < 2^256 the digest at
// its end and C the rest, which is the same for all signatures under a key.
// Montgomery products divide by R, so sixteen squarings that start at s itself,
// and not at s*R, give x = s^65536 / R^65535 (mod n). Rather than correcting
// that for every signature, we compare with an EM that was divided likewise: with
//
//	factor = -R^-65535 mod n,  addend = C*factor mod n
//
// the last product, z = (x*s + H*factor + addend) / R (mod n), is 0 mod n
// exactly if s is valid. H is one block, so H*factor costs a fraction of the
// product that going to Montgomery form and back would have cost.
//
// # Reduction
//
// A product t < 2^(104L) is divided by W, L/10 times. All but the last are
// folds: the low block q of t is replaced by q*fold, with fold = W^-1 mod n,
//
//	t' = t div W + q*fold  =  t/W (mod n).
//
// q is made of t's own limbs, so nothing waits for a multiplication. A fold
// leaves t' < t/W + W*n. The last division is Montgomery's, with p =
// -q/n mod W:
//
//	x = (t + p*n) / W  <  t/W + n.
//
// # Bounds
//
// Together, from a first t: x < t/R + 2n + 2n/W. If the factors of t were
// below 3n, then t/R < 9*n*n/R <= 9n/2^32, so x < 3n: squarings go on for ever
// without a conditional subtraction, and x fits L limbs, since 3n < R. The last
// product starts from t < 3n*n + 2^256*n + n, hence z < 2n + n/2^29 < 3n. It
// isn't 0, as t >= addend > 0 (0 < C < n, and factor is invertible) and no step
// makes a positive t 0. So s is valid exactly if z is n or 2n: that is
// compared, with all limbs carried, and no final subtraction is needed either.
//
// A column, one limb's place in t before carrying, is a sum of halves of
// products, each below 2^52: at most 2L from the product (a squaring computes
// each product of different limbs once and doubles it), 20 from each of the L/10
// divisions, that is 2L, and H*factor's 20; with carries below 2^12, below
// (4L+21)*2^52 < 2^62. Carried limbs are below 2^52, which VPMADD52 demands.
// The tests check all this with the largest limbs there are.
//
// # What limits it
//
// A processor that starts one VPMADD52 a cycle spends over nine tenths of its
// cycles starting them (BenchmarkVerify in package signature; count of
// instructions in gen/kernel.go's loops). Faster means fewer of them, as by
// Karatsuba's method, not a better order.

import (
	"bytes"
	"crypto/rsa"
	"math/big"
	"sync"
)

const (
	lanes     = 8
	limbBits  = 52
	limbMask  = 1<<limbBits - 1
	width     = 10 // limbs in a block
	blockBits = width * limbBits
	spareBits = 32 // at least so many bits of R are above n
	minBits   = 2048
	maxBits   = 8192
	maxBlocks = (maxBits + spareBits + blockBits - 1) / blockBits
	maxLimbs  = maxBlocks * width

	exponent  = 1<<squarings + 1
	squarings = 16
)

// limb is the same limb of eight numbers.
type limb [lanes]uint64

// work is a kernel's memory: eight signatures on their way. The assembler uses
// the fields' offsets. Allocated by itself it starts on a page, which keeps every
// limb in one cache line; only speed depends on that.
type work struct {
	s [maxLimbs]limb     // signatures
	h [width]limb        // digests
	x [maxLimbs]limb     // results
	t [2 * maxLimbs]limb // columns of the product
	q [width]limb        // the block being folded
	p [width]limb        // Montgomery's quotient
}

// constants are what depends on the key alone, in limbs.
type constants struct {
	n       [maxLimbs]uint64
	twice   [maxLimbs]uint64         // 2n
	fold    [maxLimbs]uint64         // W^-1 mod n
	factor  [maxLimbs]uint64         // -R^-65535 mod n
	addend  [maxLimbs + width]uint64 // C*factor mod n
	inverse [width]uint64            // -n^-1 mod W
}

// A Key verifies signatures under one RSA key. It is immutable but for a pool
// of memory, and safe for concurrent use.
type Key struct {
	constants
	blocks  uint64
	modulus []byte    // n, big-endian
	pool    sync.Pool // of *work; every signature in one is below n
}

// Fits reports whether New takes pub: an odd modulus of a size that the kernel
// has room for, and the exponent that nearly all certificates have.
func Fits(pub *rsa.PublicKey) bool {
	bits := pub.N.BitLen()
	return minBits <= bits && bits <= maxBits && pub.N.Bit(0) == 1 && pub.E == exponent
}

// New prepares a key that Fits, in well under a millisecond; others make it
// panic. It keeps nothing of pub.
func New(pub *rsa.PublicKey) *Key {
	if !Fits(pub) {
		panic("rsa52: New was called with a key that doesn't fit")
	}
	n := pub.N
	size := pub.Size()
	k := &Key{
		blocks:  uint64((n.BitLen() + spareBits + blockBits - 1) / blockBits),
		modulus: n.FillBytes(make([]byte, size)),
	}
	k.pool.New = func() any { return new(work) }

	// W*W^-1 = 1 + n*(-n^-1 mod W), so W^-1 mod n comes from the shorter inverse.
	one := big.NewInt(1)
	block := new(big.Int).Lsh(one, blockBits)
	inverse := new(big.Int).ModInverse(n, block)
	inverse.Sub(block, inverse)
	fold := new(big.Int).Mul(n, inverse)
	fold.Add(fold, one).Rsh(fold, blockBits)

	// R is W^blocks.
	factor := big.NewInt(int64(k.blocks) * (1<<squarings - 1))
	factor.Exp(fold, factor, n)
	factor.Sub(n, factor)
	addend := new(big.Int).Mul(factor, padding(size))

	toLimbs(k.n[:], n)
	toLimbs(k.twice[:], new(big.Int).Lsh(n, 1))
	toLimbs(k.fold[:], fold)
	toLimbs(k.factor[:], factor)
	toLimbs(k.addend[:], addend.Mod(addend, n))
	toLimbs(k.inverse[:], inverse)
	return k
}

// padding is EM for a modulus of size bytes and a digest of zero: 0, 1, bytes of
// 255, 0, and the DigestInfo of SHA-256 (RFC 8017, section 9.2, notes).
func padding(size int) *big.Int {
	info := []byte{
		0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
		0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20,
	}
	em := bytes.Repeat([]byte{0xff}, size)
	em[0], em[1] = 0, 1
	digest := size - 32
	clear(em[digest:])
	copy(em[digest-len(info):], info)
	em[digest-len(info)-1] = 0
	return new(big.Int).SetBytes(em)
}

// toLimbs sets dst to x, which must fit.
func toLimbs(dst []uint64, x *big.Int) {
	rest := new(big.Int).Set(x)
	mask := big.NewInt(limbMask)
	low := new(big.Int)
	for i := range dst {
		dst[i] = low.And(rest, mask).Uint64()
		rest.Rsh(rest, limbBits)
	}
}
