package rsa52

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"runtime"
	"testing"
)

func BenchmarkVerify(b *testing.B) {
	for _, bits := range []int{2048, 3072, 4096} {
		priv, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			b.Fatal(err)
		}
		const count = 256
		digests := make([][32]byte, count)
		signatures := make([][]byte, count)
		for i := range digests {
			digests[i] = sha256.Sum256(fmt.Append(nil, i))
			if i < 16 {
				signatures[i], err = rsa.SignPKCS1v15(nil, priv, crypto.SHA256, digests[i][:])
				if err != nil {
					b.Fatal(err)
				}
			} else {
				digests[i] = digests[i&15]
				signatures[i] = signatures[i&15]
			}
		}
		k := New(&priv.PublicKey)
		valid := make([]bool, count)
		b.Run(fmt.Sprint(bits), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			start := cpuTime(b)
			for b.Loop() {
				k.Verify(valid, digests, signatures)
			}
			for i := range valid {
				if !valid[i] {
					b.Fatal("bad", i)
				}
			}
			b.ReportMetric(float64(b.N)*count/(cpuTime(b)-start).Seconds(), "verifications/s")
		})
	}
}
