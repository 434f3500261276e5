package signature

import (
	"crypto"
	"crypto/rsa"
	"fmt"
	"testing"
	"time"
)

// BenchmarkVerify reports verifications per second of one core, for batches as
// the service sees them and with the standard library beside it. The time is
// wall time: on a busy machine take the best of several short runs
// (-benchtime 200ms -count 5).
func BenchmarkVerify(b *testing.B) {
	b.Log(Features())
	for _, s := range signers(b) {
		good := s.sign(digest(1))
		for _, way := range []struct {
			name string
			use  features
		}{{"fast", detect("")}, {"generic", features{}}} {
			k := mustKey(b, s.pub, way.use)
			for _, count := range []int{1000, 8, 1} {
				if count < 1000 && way.use == (features{}) {
					continue // one by one anyway
				}
				b.Run(fmt.Sprintf("%s/%s/%d", s.name, way.name, count), func(b *testing.B) { benchmark(b, k, good, count) })
			}
		}
	}
}

func benchmark(b *testing.B, k *Key, good []byte, count int) {
	digests := make([][32]byte, count)
	signatures := make([][]byte, count)
	valid := make([]bool, count)
	for i := range count {
		digests[i], signatures[i] = digest(1), good
	}
	best := time.Duration(1<<63 - 1)
	for b.Loop() {
		start := time.Now()
		k.Verify(valid, digests, signatures)
		best = min(best, time.Since(start))
	}
	for i, v := range valid {
		if !v {
			b.Fatalf("signature %d is called bad", i)
		}
	}
	perSecond := func(t time.Duration) float64 { return float64(count) / t.Seconds() }
	b.ReportMetric(perSecond(b.Elapsed()/time.Duration(b.N)), "verifications/s")
	b.ReportMetric(perSecond(best), "best/s")
}

// BenchmarkNewKey is what a certificate costs once.
func BenchmarkNewKey(b *testing.B) {
	for _, s := range signers(b) {
		b.Run(s.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := NewKey(s.pub); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPrices prints what verifying takes beside the table of prices. The RSA signatures are garbage, which takes
// as long as a good one.
func BenchmarkPrices(b *testing.B) {
	for _, s := range signers(b) {
		pubs := map[string]crypto.PublicKey{s.name: s.pub}
		if pub, ok := s.pub.(*rsa.PublicKey); ok {
			pubs[s.name+"-e=3"] = &rsa.PublicKey{N: pub.N, E: 3}
			pubs[s.name+"-e=2^31-1"] = &rsa.PublicKey{N: pub.N, E: maxExponent}
		}
		for name, pub := range pubs {
			for _, way := range []struct {
				name string
				use  features
			}{{"fast", detect("")}, {"generic", features{}}} {
				b.Run(name+"/"+way.name, func(b *testing.B) { benchmarkPrice(b, mustKey(b, pub, way.use), s.sign(digest(1))) })
			}
		}
	}
}

func benchmarkPrice(b *testing.B, k *Key, signature []byte) {
	const count = 64
	digests, signatures, valid := make([][32]byte, count), make([][]byte, count), make([]bool, count)
	for i := range count {
		digests[i], signatures[i] = digest(i), signature
	}
	best := time.Duration(1<<63 - 1)
	for b.Loop() {
		start := time.Now()
		k.Verify(valid, digests, signatures)
		best = min(best, time.Since(start))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(best.Nanoseconds())/count, "best-ns/signature")
	b.ReportMetric(float64(k.Price().Nanoseconds()), "price-ns")
	b.ReportMetric(float64(k.WorstPrice().Nanoseconds()), "worst-price-ns")
}
