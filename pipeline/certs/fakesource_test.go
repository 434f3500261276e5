package certs

// A source of certificates that tests steer, and what they ask of it.

import (
	"context"
	"crypto/elliptic"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/internal/hostname"
	"countersign/testsite"
)

// fake is a source that tests steer. It notes its calls, and waits in each while it is held.
type fake struct {
	mu      sync.Mutex
	began   map[string][]time.Time // by site
	running map[string]int         // by registrable domain
	most    map[string]int         // that ran at once, by registrable domain
	chains  []Chain
	err     error
	hold    chan struct{}          // nil: answers at once
	hangs   func(site string) bool // nil: none
}

func (f *fake) source(ctx context.Context, site string, _ []account) ([]found, bool, error) {
	domain := hostname.Domain(site)
	f.mu.Lock()
	if f.began == nil {
		f.began, f.running, f.most = make(map[string][]time.Time), make(map[string]int), make(map[string]int)
	}
	f.began[site] = append(f.began[site], time.Now())
	f.running[domain]++
	f.most[domain] = max(f.most[domain], f.running[domain])
	hold, hangs := f.hold, f.hangs
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.running[domain]--
		f.mu.Unlock()
	}()
	if hangs != nil && hangs(site) {
		hanging, cancel := context.WithTimeout(ctx, lookTimeout)
		defer cancel()
		<-hanging.Done()
		if ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
		return nil, false, &Unavailable{Site: site, Reason: site + ": no answer; mend it", Err: context.DeadlineExceeded}
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []found
	for _, chain := range f.chains {
		until := time.Now().Add(time.Hour)
		if leaf, err := chain.Leaf(); err == nil {
			until = leaf.NotAfter
		}
		all = append(all, found{chain: chain, until: until})
	}
	return all, false, f.err
}

func (f *fake) set(chains []Chain, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.chains, f.err = chains, err
}

func (f *fake) looks(site string) []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.began[site]
}

func (f *fake) everMoreThan(most int) map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	over := maps.Clone(f.most)
	maps.DeleteFunc(over, func(_ string, n int) bool { return n <= most })
	return over
}

// chainsOf makes a site with a new P-256 key and gives its chains.
func chainsOf(t *testing.T, config testsite.SiteConfig) []Chain {
	t.Helper()
	config.Curve = elliptic.P256()
	var chains []Chain
	for _, chain := range newSite(t, newCA(t), siteName, config).Chains() {
		chains = append(chains, Chain{Certificates: chain})
	}
	return chains
}

func lookSince(t *testing.T, sites *Sites, since time.Time) Known {
	t.Helper()
	known, err := sites.Look(t.Context(), siteName, "", since)
	if err != nil {
		t.Fatal(err)
	}
	return known
}

// checkLeaves checks that known is of the leaves of those chains, in that order.
func checkLeaves(t *testing.T, what string, known Known, want ...[]Chain) {
	t.Helper()
	var all []Chain
	for _, chains := range want {
		all = append(all, chains...)
	}
	if len(known.Leaves) != len(all) {
		t.Fatalf("%s: %d leaves, want %d", what, len(known.Leaves), len(all))
	}
	for i, leaf := range known.Leaves {
		if leaf.Key.Fingerprint != all[i].Fingerprint() || leaf.Chain.Fingerprint() != all[i].Fingerprint() {
			t.Errorf("%s: leaf %d is another one", what, i)
		}
	}
}

// gauge is what a gauge of the registry says.
func gauge(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}
