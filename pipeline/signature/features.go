package signature

// Which implementations this process uses. It is decided once, here and nowhere else: the processor doesn't change, and
// an operator who sets COUNTERSIGN_CPU wants the whole process to behave alike.

import (
	"os"
	"sync"

	"countersign/pipeline/signature/internal/ecbatch"
	"countersign/pipeline/signature/internal/rsa52"
)

// implementation is the code that verifies signatures of one kind.
type implementation uint8

const (
	generic implementation = iota // the standard library
	table                         // ECDSA with a table per key, on any processor
	ifma                          // eight lanes of AVX-512 IFMA
)

// String is the name that [Features] shows.
func (i implementation) String() string {
	switch i {
	case table:
		return "table"
	case ifma:
		return "avx512ifma"
	}
	return "generic"
}

// features says which implementations NewKey may choose: the fastest for each kind of key. A key that the fastest
// doesn't fit, such as one on P-521, is left to the standard library. The zero value is the standard library for all
// keys.
type features struct {
	rsa   implementation // generic or ifma
	ecdsa implementation
}

// detected is the process's features: what the processor has, unless the environment variable COUNTERSIGN_CPU is
// "generic". It is the package's only state, and a function of processor and environment, which are looked at once, at
// the first use.
var detected = sync.OnceValue(func() features {
	return detect(os.Getenv("COUNTERSIGN_CPU"))
})

// detect returns the features of this processor under a setting of COUNTERSIGN_CPU.
func detect(setting string) features {
	if setting == "generic" {
		return features{}
	}
	use := features{rsa: generic, ecdsa: table}
	if rsa52.Supported() {
		use.rsa = ifma
	}
	if ecbatch.Supported() {
		use.ecdsa = ifma
	}
	return use
}

// Features names the implementations that keys of this process use, in one line of key=value for logs and benchmarks,
// as in "rsa=avx512ifma ecdsa=avx512ifma".
func Features() string { return detected().String() }

func (f features) String() string {
	return "rsa=" + f.rsa.String() + " ecdsa=" + f.ecdsa.String()
}
