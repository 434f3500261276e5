package rsa52

// The kernel's two functions, and whether this processor can run them.

import "golang.org/x/sys/cpu"

//go:generate go run ./gen rsa52_amd64.s

// Supported reports whether this processor, and the system it runs under, have
// what the kernel needs. x/sys/cpu asks both.
func Supported() bool {
	return cpu.X86.HasAVX512F && cpu.X86.HasAVX512IFMA
}

// square sets w.x to w.s squared count times modulo n in Montgomery form:
// s^(2^count) / R^(2^count-1), below 3n for s below 3n. It overwrites w.t, w.q, w.p.
//
//go:noescape
func square(w *work, k *constants, blocks, count uint64)

// finish sets w.x to (w.x*w.s + w.h*k.factor + k.addend) / R mod n, below 2n and
// a bit, and returns a bit per lane, set where that is n or 2n. It overwrites
// w.t, w.q, w.p.
//
//go:noescape
func finish(w *work, k *constants, blocks uint64) (equal uint32)
