package certs

// What is known of sites: each leaf that a site was seen serving within the grace period and that is valid now.
// Rotation, several nodes with certificates of their own, and RSA beside ECDSA are one case: a site has several leaves,
// and a look adds to them.
//
// The memory is bounded in bytes. Where it is full, the registrable domain that uses most of it loses the site that was
// used least recently. So a hundred thousand made-up names under one wildcard certificate push out names of their
// own domain.

import (
	"container/heap"
	"container/list"
	"slices"
	"time"

	"countersign/internal/hostname"
)

// Known is what a site may be verified by. It is a value of its own: nothing changes it later.
type Known struct {
	// Leaves are those that the site was seen serving within Config.Grace and that were valid when Known was made: at
	// most [MaxLeaves], the newest sighting first.
	Leaves []Leaf
	// Looked is when the last look began that found leaves and asked all of the site. Zero: there was none, or no leaf
	// is known.
	Looked time.Time
}

// Leaf is a leaf certificate that a site was seen serving.
type Leaf struct {
	Chain Chain
	Key   Key
	// Seen is when the last look that found it began.
	Seen time.Time
}

// Chains are the chains of the leaves, in their order.
func (k Known) Chains() []Chain {
	chains := make([]Chain, len(k.Leaves))
	for i, leaf := range k.Leaves {
		chains[i] = leaf.Chain
	}
	return chains
}

// Keys are the keys of the leaves, in their order.
func (k Known) Keys() []Key {
	keys := make([]Key, len(k.Leaves))
	for i, leaf := range k.Leaves {
		keys[i] = leaf.Key
	}
	return keys
}

// sighting is a leaf as it is remembered.
type sighting struct {
	found
	fingerprint [32]byte
	seen        time.Time
}

// memory is what was seen of sites. It isn't safe for concurrent use.
type memory struct {
	grace   time.Duration
	most    int // bytes
	bytes   int
	sites   map[string]*rememberedSite
	domains map[string]*rememberedDomain
	heavy   byWeight // the domains, the heaviest first
}

type rememberedSite struct {
	name      string
	sightings []sighting // newest first; replaced as a whole
	looked    time.Time  // as Known.Looked
	bytes     int
	domain    *rememberedDomain
	place     *list.Element // in domain.sites
}

type rememberedDomain struct {
	name  string
	sites list.List // of *rememberedSite, the one used last first
	bytes int
	index int // in memory.heavy
}

func newMemory(grace time.Duration, most int) *memory {
	return &memory{
		grace: grace, most: most,
		sites: make(map[string]*rememberedSite), domains: make(map[string]*rememberedDomain),
	}
}

// get returns the sightings that are valid now, and Known.Looked. The caller must not change them.
func (m *memory) get(site string, now time.Time) (sightings []sighting, looked time.Time) {
	s := m.sites[site]
	if s == nil {
		return nil, time.Time{}
	}
	s.domain.sites.MoveToFront(s.place)
	if sightings = m.valid(s.sightings, now); len(sightings) == 0 {
		m.forget(s)
		return nil, time.Time{}
	}
	return sightings, s.looked
}

// valid returns the sightings that are within grace and valid now, in a slice of their own if some don't.
func (m *memory) valid(sightings []sighting, now time.Time) []sighting {
	past := func(s sighting) bool { return now.Sub(s.seen) > m.grace || now.After(s.until) }
	if !slices.ContainsFunc(sightings, past) {
		return sightings
	}
	return slices.DeleteFunc(slices.Clone(sightings), past)
}

// see adds what a look that began at a time has found. all says that it asked all of the site.
func (m *memory) see(site string, seen []found, all bool, began, now time.Time) {
	var merged []sighting
	known := func(f [32]byte) func(sighting) bool { return func(s sighting) bool { return s.fingerprint == f } }
	for _, f := range seen {
		if fingerprint := f.chain.Fingerprint(); !slices.ContainsFunc(merged, known(fingerprint)) {
			merged = append(merged, sighting{found: f, fingerprint: fingerprint, seen: began})
		}
	}
	var looked time.Time
	if all {
		looked = began
	}
	if s := m.sites[site]; s != nil {
		for _, old := range s.sightings {
			if !slices.ContainsFunc(merged, known(old.fingerprint)) {
				merged = append(merged, old)
			}
		}
		if s.looked.After(looked) {
			looked = s.looked
		}
		m.forget(s)
	}
	merged = m.valid(merged, now)
	slices.SortStableFunc(merged, func(a, b sighting) int { return b.seen.Compare(a.seen) })
	if len(merged) == 0 {
		return
	}
	s := &rememberedSite{name: site, sightings: merged[:min(len(merged), MaxLeaves)], looked: looked}
	m.add(s)
	for m.bytes > m.most && len(m.sites) > 1 {
		m.forget(m.leastUsed(s))
	}
}

// leastUsed is the site that the heaviest domain used least recently, or the next heaviest where that is keep. There is
// another site than keep, which was used last of its domain.
func (m *memory) leastUsed(keep *rememberedSite) *rememberedSite {
	d := m.heavy[0]
	if d.sites.Back() == keep.place {
		d = m.heavy[1] // the next heaviest is one of the two below the top of the heap
		if len(m.heavy) > 2 && m.heavy.Less(2, 1) {
			d = m.heavy[2]
		}
	}
	return d.sites.Back().Value.(*rememberedSite)
}

func (m *memory) add(s *rememberedSite) {
	name := hostname.Domain(s.name)
	s.domain = m.domains[name]
	if s.domain == nil {
		s.domain = &rememberedDomain{name: name}
		m.domains[name] = s.domain
		heap.Push(&m.heavy, s.domain)
	}
	for _, seen := range s.sightings {
		s.bytes += seen.chain.size()
	}
	s.bytes = max(s.bytes, siteMemory)
	s.place = s.domain.sites.PushFront(s)
	m.sites[s.name] = s
	m.weigh(s.domain, s.bytes)
}

func (m *memory) forget(s *rememberedSite) {
	delete(m.sites, s.name)
	s.domain.sites.Remove(s.place)
	m.weigh(s.domain, -s.bytes)
	if s.domain.sites.Len() == 0 {
		heap.Remove(&m.heavy, s.domain.index)
		delete(m.domains, s.domain.name)
	}
}

func (m *memory) weigh(d *rememberedDomain, bytes int) {
	m.bytes += bytes
	d.bytes += bytes
	heap.Fix(&m.heavy, d.index)
}

// leaves is how many leaves are valid now, of how many sites.
func (m *memory) leaves(now time.Time) (leaves, sites int) {
	for _, s := range m.sites {
		if n := len(m.valid(s.sightings, now)); n > 0 {
			leaves += n
			sites++
		}
	}
	return leaves, sites
}

// byWeight is a heap of domains.
type byWeight []*rememberedDomain

func (h byWeight) Len() int           { return len(h) }
func (h byWeight) Less(i, j int) bool { return h[i].bytes > h[j].bytes }
func (h byWeight) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *byWeight) Push(d any) {
	d.(*rememberedDomain).index = len(*h)
	*h = append(*h, d.(*rememberedDomain))
}
func (h *byWeight) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
