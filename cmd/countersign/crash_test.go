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

	"countersign/bench/testsite"
	"countersign/client"
)

func TestKilledAtRandomMoments(t *testing.T) {
	const rounds, size = 20, 3000
	w := newWorld(t)
	sites := map[string]signer{"rsa.example": w.quickRSA("rsa.example"), "ec.example": w.ecdsa("ec.example")}
	args := append(append(w.args(), logArgs(t)...), "--data-dir", t.TempDir())
	known := good("known", 100, sites["ec.example"])
	n := start(t, args...)
	n.expect(n.upload("ec.example", known), known)

	type answered struct {
		id      uuid.UUID
		entries []entry
	}
	var mu sync.Mutex
	var all []answered
	for round := range rounds {
		var wg sync.WaitGroup
		for site, sign := range sites {
			wg.Go(func() {
				for i := 0; ; i++ { // until the process is gone
					entries := mixedEntries(t, fmt.Sprint(site, round, " ", i), size, sign, known)
					r, err := n.UploadBody(t.Context(), site, bytes.NewReader(body(entries)), client.UploadOptions{})
					if err != nil {
						return
					}
					mu.Lock()
					all = append(all, answered{r.UUID, entries})
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(100+rand.IntN(900)) * time.Millisecond)
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

// Between a crash while an upload is being worked on and the restart, its site changes. What was decided first stands.
func TestTheSiteChangesDuringACrash(t *testing.T) {
	const size = 100_000
	for name, change := range map[string]func(*testing.T, *testsite.Site){
		"rotated": func(t *testing.T, s *testsite.Site) { must(t, s.Rotate(testsite.SiteConfig{Curve: elliptic.P256()})) },
		"gone":    func(_ *testing.T, s *testsite.Site) { s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			site := w.site("ec.example", p256)
			args := append(append(w.args(), logArgs(t)...), "--data-dir", t.TempDir())
			n := start(t, args...)
			entries := good(name, size, site.SignTextECDSA)
			id := n.upload("ec.example", entries)
			n.untilDecided(id)
			n.kill()
			change(t, site)
			n = start(t, args...)
			n.expect(id, entries)
			n.stop()
		})
	}
}

// untilDecided returns when the first outcome of an upload is stored, which is after its decision was logged.
func (n *node) untilDecided(id uuid.UUID) {
	n.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		s, err := n.Status(n.t.Context(), id)
		must(n.t, err)
		if s.DoneBatch > 0 {
			n.t.Logf("killed with %d batches done and %d waiting", s.DoneBatch, s.WaitingBatch)
			return
		}
	}
	n.t.Fatal("nothing was decided in a minute")
}
