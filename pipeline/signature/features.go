package signature

// Which implementations this process uses. Decided once: the processor doesn't
// change, and an operator who sets COUNTERSIGN_CPU wants the whole process to
// behave alike.

import (
	"os"
	"sync"

	"countersign/pipeline/signature/internal/rsa52"
)

// features says which fast paths NewKey may choose. The zero value is none.
type features struct {
	ifma  bool // RSA in eight lanes of AVX-512 IFMA
	table bool // ECDSA with a table per key
}

// detected is the process's features: what the processor has, unless the
// environment variable COUNTERSIGN_CPU is "generic". It is the package's only
// state: a function of processor and environment, read at the first use.
var detected = sync.OnceValue(func() features {
	return detect(os.Getenv("COUNTERSIGN_CPU"))
})

func detect(setting string) features {
	if setting == "generic" {
		return features{}
	}
	return features{ifma: rsa52.Supported(), table: true}
}

// Features names the implementations that keys of this process use, in one
// line of key=value, as in "rsa=avx512ifma ecdsa=table", for logs and benches.
func Features() string { return detected().String() }

func (f features) String() string {
	rsa, ecdsa := "generic", "generic"
	if f.ifma {
		rsa = "avx512ifma"
	}
	if f.table {
		ecdsa = "table"
	}
	return "rsa=" + rsa + " ecdsa=" + ecdsa
}
