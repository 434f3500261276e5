// Package gen writes the code of package ecbatch that is too long and too regular to be written by hand.
//
// It owns the text of the generated files: the arithmetic of package field, and the AVX-512 kernels. `go generate` in
// package ecbatch runs it through the command in ./emit.
//
// It promises the same text at every run. A test compares that text with the committed files, byte for byte.
//
// The files: gen.go lists what is written, field.go writes package field, ifma.go writes the kernels that add points,
// pick.go the one that looks entries up in tables, ifma256.go and ifma384.go what is different for each curve.
//
// It must not know any other package of this module.
package gen
