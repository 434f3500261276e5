package bench

// Verifying without a service around it: Go's crypto and ours, on all cores.

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"countersign/pipeline/signature"
)

// verifier says which of the signatures are valid. It is called from many goroutines.
type verifier func(valid []bool, digests [][32]byte, signatures [][]byte)

// goVerifier is the standard library's, one signature at a time as it has it.
func goVerifier(public crypto.PublicKey) (verifier, error) {
	switch key := public.(type) {
	case *rsa.PublicKey:
		return func(valid []bool, digests [][32]byte, signatures [][]byte) {
			for i := range valid {
				valid[i] = rsa.VerifyPKCS1v15(key, crypto.SHA256, digests[i][:], signatures[i]) == nil
			}
		}, nil
	case *ecdsa.PublicKey:
		return func(valid []bool, digests [][32]byte, signatures [][]byte) {
			for i := range valid {
				valid[i] = ecdsa.VerifyASN1(key, digests[i][:], signatures[i])
			}
		}, nil
	}
	return nil, fmt.Errorf("no verifier for a key of type %T", public)
}

// ourVerifier is the service's.
func ourVerifier(public crypto.PublicKey) (verifier, error) {
	key, err := signature.NewKey(public)
	if err != nil {
		return nil, err
	}
	return key.Verify, nil
}

// How many signatures a call gets: for ours a batch of the service's, for Go's, which takes one at a time, as many as
// pass between two looks at the clock.
const (
	ourCall = 1000
	goCall  = 50
)

// verifyRate is how many signatures a second all cores verify with v, over some time: the sum of the cores' rates, so
// that a core that has finished its last call doesn't count as idle. pairs must be valid and not fewer than call.
func verifyRate(ctx context.Context, v verifier, pairs *signed, call int, over time.Duration) (float64, error) {
	rates := make([]float64, runtime.GOMAXPROCS(0))
	var wrong atomic.Int64
	var group sync.WaitGroup
	for core := range rates {
		group.Go(func() {
			rates[core] = coreRate(ctx, v, pairs, call, core*len(pairs.digests)/len(rates), over, &wrong)
		})
	}
	group.Wait()
	if n := wrong.Load(); n > 0 {
		return 0, fmt.Errorf("%d valid signatures were called invalid", n)
	}
	sum := 0.0
	for _, rate := range rates {
		sum += rate
	}
	return sum, ctx.Err()
}

// coreRate goes round the pairs, from index at on.
func coreRate(ctx context.Context, v verifier, pairs *signed, call, at int, over time.Duration, wrong *atomic.Int64) float64 {
	valid := make([]bool, call)
	start := time.Now()
	total := 0
	for ; time.Since(start) < over && ctx.Err() == nil; at += call {
		if at+call > len(pairs.digests) {
			at = 0
		}
		v(valid, pairs.digests[at:at+call], pairs.signatures[at:at+call])
		for _, ok := range valid {
			if !ok {
				wrong.Add(1)
			}
		}
		total += call
	}
	return float64(total) / time.Since(start).Seconds()
}
