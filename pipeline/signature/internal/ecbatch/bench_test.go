//go:build unix

package ecbatch

import (
	"crypto/ecdsa"
	"fmt"
	"syscall"
	"testing"
)

// Verifications per second on one core, by signatures per call, next to crypto/ecdsa in the same run.
func BenchmarkVerify(b *testing.B) {
	for _, curve := range curves {
		name := curve.Params().Name
		private := makePrivate(b, curve)
		all := goodSample(b, private, 1000)
		b.Run(name+"/crypto", func(b *testing.B) {
			timed(b, 1, func() { ecdsa.VerifyASN1(&private.PublicKey, all.digests[0][:], all.signatures[0]) })
		})
		for _, ifma := range []bool{false, true} {
			way := "portable"
			if ifma {
				way = "avx512ifma"
			}
			if ifma && !Supported() {
				b.Run(name+"/"+way, func(b *testing.B) { needKernels(b) })
				continue
			}
			key := withTable(b, &private.PublicKey, ifma)
			for _, n := range []int{1, 2, 4, 8, 16, 64, 1000} {
				valid := make([]bool, n)
				b.Run(fmt.Sprintf("%s/%s/%d", name, way, n), func(b *testing.B) {
					timed(b, n, func() { key.Verify(valid, all.digests[:n], all.signatures[:n]) })
				})
			}
			engine := choose(curve, ifma)
			b.Run(fmt.Sprintf("%s/%s/prepare", name, way), func(b *testing.B) {
				for b.Loop() {
					engine().prepare(key.public)
				}
			})
		}
	}
}

// timed runs one benchmark of n verifications an iteration, and reports verifications per second of the clock and per
// second of processor time. On a machine that is busy with other things the latter is the figure for a core.
func timed(b *testing.B, n int, run func()) {
	run()
	before := processorSeconds(b)
	for b.Loop() {
		run()
	}
	spent := processorSeconds(b) - before
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "verify/s")
	b.ReportMetric(float64(n)*float64(b.N)/spent, "verify/cpu-s")
}

func processorSeconds(b *testing.B) float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}
