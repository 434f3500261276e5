package certs

// What must hold of looks, for any sites, callers and times.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"countersign/internal/hostname"
	"countersign/testsite"
)

// caller is somebody who asks once.
type caller struct {
	at       time.Duration
	site     string
	client   string
	await    bool          // Await, not Look
	before   time.Duration // how long before the question since is
	deadline time.Duration // 0: none
}

// behaviour is what a site does with a look.
type behaviour struct {
	takes  time.Duration
	leaves []int // of the pool; none: it fails
}

// recorder is a source that does as planned and notes when.
type recorder struct {
	mu    sync.Mutex
	pool  []found
	plans map[string][]behaviour // by site, one for each look in turn, and then again
	looks []recorded
}

type recorded struct {
	site         string
	began, ended time.Time
	leaves       []int
}

// madeAt is the error of a look that began at a time.
type madeAt struct{ began time.Time }

func (e madeAt) Error() string { return "as planned" }

func (r *recorder) source(ctx context.Context, site string, _ []account) ([]found, bool, error) {
	r.mu.Lock()
	number := 0
	for _, l := range r.looks {
		if l.site == site {
			number++
		}
	}
	did := r.plans[site][number%len(r.plans[site])]
	index := len(r.looks)
	r.looks = append(r.looks, recorded{site: site, began: time.Now(), leaves: did.leaves})
	r.mu.Unlock()
	timer := time.NewTimer(did.takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looks[index].ended = time.Now()
	if len(did.leaves) == 0 {
		return nil, false, &Unavailable{Site: site, Reason: "away; come back", Err: madeAt{r.looks[index].began}}
	}
	var all []found
	for _, leaf := range did.leaves {
		all = append(all, r.pool[leaf])
	}
	return all, false, nil
}

func TestLooksKeepTheirPromises(t *testing.T) {
	var pool []found
	for range 4 {
		pool = append(pool, found{chain: chainsOf(t, testsite.SiteConfig{})[0], until: time.Unix(1<<40, 0)})
	}
	durations := []time.Duration{0, time.Millisecond, 300 * time.Millisecond, 3 * time.Second, lookTimeout}
	rapid.Check(t, func(rt *rapid.T) {
		r := &recorder{pool: pool, plans: map[string][]behaviour{}}
		var names []string
		for d := range 2 {
			for s := range rapid.IntRange(1, 15).Draw(rt, "sites") {
				name := fmt.Sprintf("s%d.d%d.com", s, d)
				names = append(names, name)
				r.plans[name] = rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) behaviour {
					return behaviour{
						takes:  rapid.SampledFrom(durations).Draw(rt, "takes"),
						leaves: rapid.SliceOfNDistinct(rapid.IntRange(0, len(pool)-1), 0, 3, rapid.ID).Draw(rt, "leaves"),
					}
				}), 1, 3).Draw(rt, "plan")
			}
		}
		millis := func(rt *rapid.T, most int, what string) time.Duration {
			return time.Duration(rapid.IntRange(0, most).Draw(rt, what)) * time.Millisecond
		}
		callers := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) caller {
			return caller{
				at: millis(rt, 30_000, "at"), site: rapid.SampledFrom(names).Draw(rt, "site"),
				client: rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(rt, "client"), await: rapid.Bool().Draw(rt, "await"),
				before: millis(rt, 5000, "before"), deadline: millis(rt, 20_000, "deadline"),
			}
		}), 1, 120).Draw(rt, "callers")
		var problems []string
		synctest.Test(t, func(t *testing.T) { problems = play(t, r, callers) })
		if len(problems) > 0 {
			rt.Fatal(problems[0])
		}
	})
}

// play lets the callers ask, and returns what didn't hold.
func play(t *testing.T, r *recorder, callers []caller) (problems []string) {
	var mu sync.Mutex
	wrong := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		problems = append(problems, fmt.Sprintf(format, args...))
	}
	sites, err := New(Config{source: r.source})
	if err != nil {
		t.Fatal(err)
	}
	var asking sync.WaitGroup
	for _, c := range callers {
		asking.Go(func() {
			time.Sleep(c.at)
			c.ask(t.Context(), sites, wrong)
		})
	}
	asking.Wait()
	sites.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, l := range r.looks {
		running := 1
		for _, earlier := range r.looks[:i] {
			overlap := earlier.ended.IsZero() || earlier.ended.After(l.began)
			if earlier.site == l.site && (overlap || l.began.Sub(earlier.began) < Interval) {
				wrong("a look at %s began %s after the one before, which ran until %v",
					l.site, l.began.Sub(earlier.began), earlier.ended)
			}
			if overlap && hostname.Domain(earlier.site) == hostname.Domain(l.site) {
				running++
			}
		}
		if running > 2*maxRunningOfAccount { // known and unknown sites
			wrong("%d looks at one domain ran at once", running)
		}
	}
	now := time.Now()
	for _, l := range r.looks { // all within grace
		known := sites.Known(l.site)
		for _, leaf := range l.leaves {
			has := func(k Leaf) bool {
				return k.Key.Fingerprint == r.pool[leaf].chain.Fingerprint() && !k.Seen.Before(l.began)
			}
			if !l.ended.IsZero() && now.Sub(l.began) <= UsualGrace && !slices.ContainsFunc(known.Leaves, has) {
				wrong("a leaf of %s that was seen %s ago is not known", l.site, now.Sub(l.began))
			}
		}
	}
	return problems
}

// ask asks once, and says what was wrong with the answer.
func (c caller) ask(ctx context.Context, sites *Sites, wrong func(string, ...any)) {
	most := MaxWait
	if c.deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.deadline)
		defer cancel()
		most = c.deadline
	}
	asked := time.Now()
	since := asked.Add(-c.before)
	var known Known
	var err error
	if c.await {
		known, err = sites.Await(ctx, c.site, c.client)
	} else {
		known, err = sites.Look(ctx, c.site, c.client, since)
	}
	if waited := time.Since(asked); waited > most {
		wrong("a caller with %s waited %s", most, waited)
	}
	made, planned := errors.AsType[madeAt](err)
	switch {
	case err == nil && len(known.Leaves) == 0:
		wrong("there is no error, and no leaf of %s", c.site)
	case err == nil && !c.await && known.Looked.Before(since):
		wrong("%s was looked at %s before since", c.site, since.Sub(known.Looked))
	case planned && !c.await && made.began.Before(since):
		wrong("a look at %s that began %s before since gave the error", c.site, since.Sub(made.began))
	case err != nil && !planned && !errors.Is(err, ErrNoAnswer) && !errors.Is(err, ErrNoTurn):
		wrong("the error is %v", err)
	case err != nil && !planned && time.Since(asked) < most:
		wrong("a caller with %s is told after %s that time is over", most, time.Since(asked))
	}
}
