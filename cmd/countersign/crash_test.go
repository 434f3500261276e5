package main

// Exactness across crashes: the process dies by SIGKILL at random moments, sites change in between, and what was
// answered is complete, exact and counted once (I1, I3, I5).

import (
	"bytes"
	"crypto/elliptic"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"countersign/client"
	"countersign/testsite"
)

func TestKilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	const each, size = 6, 1200
	rounds := times(20, 4)
	w := newWorld(t)
	sites := map[string]signer{"rsa.example": w.quickRSA("rsa.example"), "ec.example": w.ecdsa("ec.example")}
	args := append(append(w.args(), logArgs(t)...), "--data-dir", t.TempDir())
	n := start(t, args...)
	known := make(map[string][]entry)
	for site, sign := range sites {
		known[site] = good("known "+site, 100, sign)
		n.expect(n.upload(site, known[site]), known[site])
	}
	type answered struct {
		id      uuid.UUID
		entries []entry
	}
	var mu sync.Mutex
	var all []answered // guarded by mu
	killed := killer{t: t, times: newRandomTimes(t)}
	for round := range rounds {
		n = killed.round(round, n, args, func(attempt int) (uploads func(*node) int) {
			prepared := make(map[string][][]entry) // by site; signing must not slow the uploads down
			for site, sign := range sites {
				for i := range each {
					seed := fmt.Sprint(site, round, attempt, i)
					prepared[site] = append(prepared[site], mixedEntries(t, seed, size, sign, known[site]))
				}
			}
			return func(n *node) int {
				before := len(all)
				var wg sync.WaitGroup
				for site := range sites {
					wg.Go(func() {
						for _, entries := range prepared[site] {
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
				wg.Wait()
				return len(all) - before
			}
		})
	}
	t.Logf("%d uploads were answered in %d rounds", len(all), rounds)
	for _, a := range all {
		n.expect(a.id, a.entries)
	}
	n.stop()
}

// killer kills a process at random moments, in rounds.
type killer struct {
	t     *testing.T
	times randomTimes
}

// round starts calls, kills the process while they go on, and returns its successor. prepare returns the calls: they
// return how many were answered when all were made or the process is gone. A round in which none was has tested
// nothing: it is done again and the process gets more time. There is a bound to that.
func (k killer) round(round int, n *node, args []string, prepare func(attempt int) (calls func(*node) int)) *node {
	k.t.Helper()
	const attempts = 9
	longest := 600 * time.Millisecond
	for attempt := range attempts {
		calls := prepare(attempt)
		answered := make(chan int, 1)
		go func() { answered <- calls(n) }()
		time.Sleep(k.times.upTo(longest, "round", round, "attempt", attempt))
		n.Kill()
		count := <-answered
		n = start(k.t, args...)
		if count > 0 {
			return n
		}
		longest *= 2
	}
	k.t.Fatalf("round %d: in %d attempts no call was answered before the process was killed", round, attempts)
	return nil
}

// Between a crash while an upload is being worked on and the restart, its site changes. Whether the decision was logged
// before or comes after, there is one for the whole upload.
func TestTheSiteChangesDuringACrash(t *testing.T) {
	t.Parallel()
	const size, rounds = 30_000, 5
	for name, change := range map[string]struct {
		do   func(*testing.T, *testsite.Site)
		want outcome // of an upload that is decided afterwards
	}{
		"rotated": {func(t *testing.T, s *testsite.Site) { must(t, s.Rotate(testsite.SiteConfig{Curve: elliptic.P256()})) }, badSignature},
		"gone":    {func(_ *testing.T, s *testsite.Site) { s.Close() }, failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			times := newRandomTimes(t)
			for round := range rounds {
				w := newWorld(t)
				site := w.site("ec.example", p256)
				args := append(append(w.args(), logArgs(t)...), "--data-dir", t.TempDir())
				n := start(t, args...)
				entries := good(fmt.Sprint(name, round), size, site.SignTextECDSA)
				id := n.upload("ec.example", entries)
				moment := times.upTo(300*time.Millisecond, round)
				time.Sleep(moment)
				n.Kill()
				change.do(t, site)
				n = start(t, args...)
				s, err := n.Wait(deadline(t, patience), id, nil)
				must(t, err)
				t.Logf("killed %s after the answer: %+v", moment, s)
				if s.OKHash == 0 {
					entries = as(change.want, entries)
				}
				n.expect(id, entries)
				n.stop()
			}
		})
	}
}
