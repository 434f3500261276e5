package main

// Single signings end to end: whoever got "signed OK" finds the hash right away, and after any crash, under the same
// signer.

import (
	"fmt"
	"io"
	"sync"
	"testing"

	"countersign/client"
	"countersign/testsite"
)

// lookUp asks who signed a hash; an error means that the process didn't answer.
func (n *node) lookUp(hash [32]byte) (reply string, err error) {
	r, err := oneByOne().Get("http://" + n.API + "/api/v1/hash/" + testsite.HexText(hash, false))
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return fmt.Sprintf("%d %s", r.StatusCode, body), err
}

func TestSingleSigningsAreSeenAtOnceAndSurvive(t *testing.T) {
	t.Parallel()
	const callers, each = 8, 400
	rounds := times(5, 2)
	w := newWorld(t)
	const site = "rsa.example"
	sign := w.quickRSA(site)
	args := append(append(w.args(), logArgs(t)...), "--data-dir", t.TempDir())
	n := start(t, args...)
	type answered struct {
		client.Pair
		reply string // to a look-up right after
	}
	var mu sync.Mutex
	var all []answered // guarded by mu
	killed := killer{t: t, times: newRandomTimes(t)}
	for round := range rounds {
		n = killed.round(round, n, args, func(attempt int) (signings func(*node) int) {
			prepared := pairs(fmt.Sprint("single ", round, " ", attempt), 0, callers*each, sign)
			return func(n *node) int {
				before := len(all)
				var wg sync.WaitGroup
				for c := range callers {
					wg.Go(func() {
						for _, p := range prepared[c*each : (c+1)*each] { // until the process is gone: then an answer may have got lost
							result, err := n.Sign(t.Context(), site, p.Hash, p.Signature)
							if err != nil {
								return
							}
							reply, err := n.lookUp(p.Hash)
							if err != nil {
								return
							}
							if result != client.Added || reply[:4] != "200 " {
								t.Errorf("signing a new hash: %v; then looking it up: %s", result, reply)
							}
							mu.Lock()
							all = append(all, answered{p, reply})
							mu.Unlock()
						}
					})
				}
				wg.Wait()
				return len(all) - before
			}
		})
	}
	t.Logf("%d signings were answered in %d rounds", len(all), rounds)
	for _, p := range all {
		if result, err := n.Sign(t.Context(), site, p.Hash, p.Signature); err != nil || result != client.Duplicate {
			t.Fatalf("signing %x again: %v, %v", p.Hash[:4], result, err)
		}
		if now, err := n.lookUp(p.Hash); err != nil || now != p.reply {
			t.Fatalf("looking %x up again: %v, %s; it was %s", p.Hash[:4], err, now, p.reply)
		}
	}
	n.stop()
}
