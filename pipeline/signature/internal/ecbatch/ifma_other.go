//go:build !amd64

package ecbatch

import "countersign/pipeline/signature/internal/ecbatch/internal/field"

// haveIFMA is false on CPUs of other makes.
func haveIFMA() bool { return false }

func newIFMA256(_, _ comb[field.P256]) engine { panic("ecbatch: no AVX-512 on this architecture") }

func newIFMA384(_, _ comb[field.P384]) engine { panic("ecbatch: no AVX-512 on this architecture") }
