package ecbatch

import (
	"crypto/ecdsa"
	"fmt"
	"testing"
)

// Verifications per second on one core, by signatures per call, next to crypto/ecdsa in the same run.
func BenchmarkVerify(b *testing.B) {
	for _, curve := range curves {
		name := curve.Params().Name
		private := makePrivate(b, curve)
		all := goodSample(b, private, 1000)
		b.Run(name+"/crypto", func(b *testing.B) {
			for b.Loop() {
				ecdsa.VerifyASN1(&private.PublicKey, all.digests[0][:], all.signatures[0])
			}
			perSecond(b, 1)
		})
		for _, cpu := range []string{"generic", ""} {
			b.Setenv("COUNTERSIGN_CPU", cpu)
			key := withTable(b, &private.PublicKey)
			for _, n := range []int{1, 2, 4, 8, 16, 64, 1000} {
				valid := make([]bool, n)
				b.Run(fmt.Sprintf("%s/%s/%d", name, key.Kind(), n), func(b *testing.B) {
					for b.Loop() {
						key.Verify(valid, all.digests[:n], all.signatures[:n])
					}
					perSecond(b, n)
				})
			}
			b.Run(fmt.Sprintf("%s/%s/table", name, key.Kind()), func(b *testing.B) {
				for b.Loop() {
					key.newEngine()
				}
			})
		}
	}
}

func perSecond(b *testing.B, n int) {
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "verify/s")
}
