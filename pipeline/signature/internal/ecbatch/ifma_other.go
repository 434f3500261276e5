//go:build !amd64

package ecbatch

// haveIFMA is false on CPUs of other makes.
func haveIFMA() bool { return false }

func newIFMA256() engine { panic("ecbatch: no AVX-512 on this architecture") }

func newIFMA384() engine { panic("ecbatch: no AVX-512 on this architecture") }
