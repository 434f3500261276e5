package ecbatch

import (
	"os"

	"golang.org/x/sys/cpu"

	"countersign/pipeline/signature/internal/ecbatch/internal/field"
)

// What the vector engine needs for each curve: the generated kernels, and the exponent of an inversion.

// vector256 is a coordinate on P-256 of eight signatures: limbs of 52 bits, in Montgomery form with R = 2^260.
type vector256 [5][8]uint64

// vector384 is the same on P-384, with R = 2^416.
type vector384 [8][8]uint64

// The kernels; see internal/gen/ifma.go. None keeps a pointer; n > 0.

//go:noescape
func ifma256Mul(z, x, y *vector256)

//go:noescape
func ifma256Square(z, x *vector256, n int)

//go:noescape
func ifma256Products(running, dx, prefix *vector256, sums, terms *vectorPoint[vector256], n int)

//go:noescape
func ifma256Sums(running, dx, prefix *vector256, sums, terms *vectorPoint[vector256], n int, scratch *[2]vector256)

//go:noescape
func ifma256Pick(points *vectorPoint[vector256], window *point[field.P256], digits *byte, n int)

//go:noescape
func ifma384Mul(z, x, y *vector384)

//go:noescape
func ifma384Square(z, x *vector384, n int)

//go:noescape
func ifma384Products(running, dx, prefix *vector384, sums, terms *vectorPoint[vector384], n int)

//go:noescape
func ifma384Sums(running, dx, prefix *vector384, sums, terms *vectorPoint[vector384], n int, scratch *[2]vector384)

//go:noescape
func ifma384Pick(points *vectorPoint[vector384], window *point[field.P384], digits *byte, n int)

// haveIFMA tells whether the CPU and the operating system have what the kernels use, and nobody turned it off.
func haveIFMA() bool {
	return cpu.X86.HasAVX512F && cpu.X86.HasAVX512IFMA && os.Getenv("COUNTERSIGN_CPU") != "generic"
}

func newIFMA256(generator, key comb[field.P256]) engine {
	return newVectorEngine[vector256, field.P256, field.P256Order, *field.P256, *field.P256Order](kernels256(), generator, key)
}

func newIFMA384(generator, key comb[field.P384]) engine {
	return newVectorEngine[vector384, field.P384, field.P384Order, *field.P384, *field.P384Order](kernels384(), generator, key)
}

func kernels256() *kernels[vector256, field.P256] {
	return &kernels[vector256, field.P256]{
		mul: ifma256Mul, square: ifma256Square, products: ifma256Products, sums: ifma256Sums, pick: ifma256Pick,
		limbs:  func(v *vector256) [][8]uint64 { return v[:] },
		invert: invert256,
	}
}

func kernels384() *kernels[vector384, field.P384] {
	return &kernels[vector384, field.P384]{
		mul: ifma384Mul, square: ifma384Square, products: ifma384Products, sums: ifma384Sums, pick: ifma384Pick,
		limbs:  func(v *vector384) [][8]uint64 { return v[:] },
		invert: invert384,
	}
}

// invert256 raises x to p-2: 32 ones, 31 zeros, a one, 96 zeros, 94 ones, a zero and a one.
func invert256(z, x *vector256) {
	var ones2, ones4, ones8, ones30, ones32, t vector256
	grow := func(z, x *vector256, n int, y *vector256) { // z = x^(2^n) * y; y isn't z
		ifma256Square(z, x, n)
		ifma256Mul(z, z, y)
	}
	grow(&ones2, x, 1, x)
	grow(&ones4, &ones2, 2, &ones2)
	grow(&ones8, &ones4, 4, &ones4)
	grow(&t, &ones8, 8, &ones8)
	grow(&t, &t, 8, &ones8)
	grow(&t, &t, 4, &ones4)
	grow(&ones30, &t, 2, &ones2)
	grow(&ones32, &ones30, 2, &ones2)
	grow(&t, &ones32, 32, x)
	grow(&t, &t, 128, &ones32)
	grow(&t, &t, 32, &ones32)
	grow(&t, &t, 30, &ones30)
	grow(&t, &t, 2, x)
	*z = t
}

// invert384 raises x to p-2: 255 ones, a zero, 32 ones, 64 zeros, 30 ones, a zero and a one.
func invert384(z, x *vector384) {
	var ones2, ones4, ones7, ones15, ones30, ones32, ones60, ones120, t vector384
	grow := func(z, x *vector384, n int, y *vector384) { // z = x^(2^n) * y; y isn't z
		ifma384Square(z, x, n)
		ifma384Mul(z, z, y)
	}
	grow(&ones2, x, 1, x)
	grow(&ones4, &ones2, 2, &ones2)
	grow(&t, &ones4, 2, &ones2)
	grow(&ones7, &t, 1, x)
	grow(&t, &ones7, 7, &ones7)
	grow(&ones15, &t, 1, x)
	grow(&ones30, &ones15, 15, &ones15)
	grow(&ones32, &ones30, 2, &ones2)
	grow(&ones60, &ones30, 30, &ones30)
	grow(&ones120, &ones60, 60, &ones60)
	grow(&t, &ones120, 120, &ones120)
	grow(&t, &t, 15, &ones15)
	grow(&t, &t, 33, &ones32)
	grow(&t, &t, 94, &ones30)
	grow(&t, &t, 2, x)
	*z = t
}
