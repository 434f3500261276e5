package main

// Exactness across crashes: the process dies by SIGKILL at random moments, sites change in between, and what was answered is
// complete, exact and counted once (I1, I3, I5).

import (
	"bytes"
	"crypto/elliptic"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"countersign/client"
	"countersign/testsite"
)

func TestKilledAtRandomMoments(t *testing.T) {
	const rounds, size = 20, 1200
	w := newWorld(t)
	sites := map[string]signer{"rsa.example": w.quickRSA("rsa.example"), "ec.example": w.ecdsa("ec.example")}
	args := append(append(w.args(), logArgs(t)...), "--data-dir", t.TempDir())
	n := start(t, args...)
	prepared := make(map[string]chan []entry) // by site; signing must not slow the uploads down
	for site, sign := range sites {
		known := good("known "+site, 100, sign)
		n.expect(n.upload(site, known), known)
		prepared[site] = make(chan []entry, 4*rounds)
		for i := range 4 * rounds {
			prepared[site] <- mixedEntries(t, fmt.Sprint(site, i), size, sign, known)
		}
	}
	type answered struct {
		id      uuid.UUID
		entries []entry
	}
	var mu sync.Mutex
	var all []answered
	for range rounds {
		var wg sync.WaitGroup
		for site := range sites {
			wg.Go(func() {
				for { // until the process is gone
					var entries []entry
					select {
					case entries = <-prepared[site]:
					default:
						return
					}
					r, err := n.UploadBody(t.Context(), site, bytes.NewReader(body(entries)), client.UploadOptions{})
					if err != nil {
						return // whether it was accepted is unknown: the answer may be what got lost
					}
					mu.Lock()
					all = append(all, answered{r.UUID, entries})
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(20+rand.IntN(600)) * time.Millisecond)
		n.kill()
		wg.Wait()
		n = start(t, args...)
	}
	t.Logf("%d uploads were answered in %d rounds", len(all), rounds)
	for _, a := range all {
		n.expect(a.id, a.entries)
	}
	n.stop()
}

// Between a crash while an upload is being worked on and the restart, its site changes. Whether the decision was logged before or comes
// after, there is one for the whole upload.
func TestTheSiteChangesDuringACrash(t *testing.T) {
	const size, rounds = 30_000, 5
	for name, change := range map[string]struct {
		do   func(*testing.T, *testsite.Site)
		want outcome // of an upload that is decided afterwards
	}{
		"rotated": {func(t *testing.T, s *testsite.Site) { must(t, s.Rotate(testsite.SiteConfig{Curve: elliptic.P256()})) }, badSignature},
		"gone":    {func(_ *testing.T, s *testsite.Site) { s.Close() }, failed},
	} {
		t.Run(name, func(t *testing.T) {
			for round := range rounds {
				w := newWorld(t)
				site := w.site("ec.example", p256)
				args := append(append(w.args(), logArgs(t)...), "--data-dir", t.TempDir())
				n := start(t, args...)
				entries := good(fmt.Sprint(name, round), size, site.SignTextECDSA)
				id := n.upload("ec.example", entries)
				time.Sleep(time.Duration(round) * 60 * time.Millisecond)
				n.kill()
				change.do(t, site)
				n = start(t, args...)
				s, err := n.Wait(deadline(t, time.Minute), id, nil)
				must(t, err)
				t.Logf("killed %d ms after the answer: %+v", round*60, s)
				if s.OKHash == 0 {
					entries = as(change.want, entries)
				}
				n.expect(id, entries)
				n.stop()
			}
		})
	}
}
