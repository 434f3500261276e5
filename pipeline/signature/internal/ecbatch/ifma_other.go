//go:build !amd64

package ecbatch

// Supported reports that there are no kernels for this architecture.
func Supported() bool { return false }

func newIFMA256() engine { panic("ecbatch: no AVX-512 on this architecture") }

func newIFMA384() engine { panic("ecbatch: no AVX-512 on this architecture") }
