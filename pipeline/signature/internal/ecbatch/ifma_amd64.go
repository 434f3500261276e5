package ecbatch

import (
	"crypto/elliptic"

	"golang.org/x/sys/cpu"

	"countersign/pipeline/signature/internal/ecbatch/internal/field"
)

// What the vector engine needs for each curve: the generated kernels.

// vector256 is a coordinate on P-256 of eight signatures: limbs of 52 bits, in Montgomery form with R = 2^260.
type vector256 [5][8]uint64

// vector384 is the same on P-384, with R = 2^416.
type vector384 [8][8]uint64

// The kernels; see internal/gen/ifma.go. None keeps a pointer; n > 0.

//go:noescape
func ifma256Mul(z, x, y *vector256)

//go:noescape
func ifma256Products(running, dx, prefix *vector256, sums, terms *vectorPoint[vector256], n int)

//go:noescape
func ifma256Sums(running, dx, prefix *vector256, sums, terms *vectorPoint[vector256], n int, scratch *[2]vector256)

//go:noescape
func ifma256Pick(points *vectorPoint[vector256], window *point[field.P256], digits *byte, n int)

//go:noescape
func ifma384Mul(z, x, y *vector384)

//go:noescape
func ifma384Products(running, dx, prefix *vector384, sums, terms *vectorPoint[vector384], n int)

//go:noescape
func ifma384Sums(running, dx, prefix *vector384, sums, terms *vectorPoint[vector384], n int, scratch *[2]vector384)

//go:noescape
func ifma384Pick(points *vectorPoint[vector384], window *point[field.P384], digits *byte, n int)

// Supported reports whether this processor, and the operating system it runs under, have what the kernels need.
func Supported() bool {
	return cpu.X86.HasAVX512F && cpu.X86.HasAVX512IFMA
}

func newIFMA256() engine {
	return newVectorEngine[vector256, field.P256, field.P256Order, *field.P256, *field.P256Order](
		kernels256(), elliptic.P256())
}

func newIFMA384() engine {
	return newVectorEngine[vector384, field.P384, field.P384Order, *field.P384, *field.P384Order](
		kernels384(), elliptic.P384())
}

func kernels256() *kernels[vector256, field.P256] {
	return &kernels[vector256, field.P256]{
		mul: ifma256Mul, products: ifma256Products, sums: ifma256Sums, pick: ifma256Pick,
		limbs: func(v *vector256) [][8]uint64 { return v[:] },
	}
}

func kernels384() *kernels[vector384, field.P384] {
	return &kernels[vector384, field.P384]{
		mul: ifma384Mul, products: ifma384Products, sums: ifma384Sums, pick: ifma384Pick,
		limbs: func(v *vector384) [][8]uint64 { return v[:] },
	}
}
