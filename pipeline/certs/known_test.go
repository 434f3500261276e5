package certs

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// madeUp is a chain of so many bytes that is no chain, and is different for each number.
func madeUp(number, size int) found {
	der := make([]byte, size)
	binary.BigEndian.PutUint32(der, uint32(number))
	return found{chain: Chain{Certificates: [][]byte{der}}, until: time.Unix(1<<40, 0)}
}

// A model that remembers everything agrees with the memory, as long as the memory is not full.
func TestWhatWasSeenWithinGraceIsRemembered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const grace = 100 * time.Second
		m := newMemory(grace, 1<<40)
		now := time.Unix(1_000_000, 0)
		type key struct {
			site string
			leaf int
		}
		seen := map[key]time.Time{}
		until := map[int]time.Time{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "pause")) * time.Second)
			site := fmt.Sprintf("s%d.example", rapid.IntRange(0, 2).Draw(t, "site"))
			var all []found
			for _, leaf := range rapid.SliceOfNDistinct(rapid.IntRange(0, 4), 1, 5, rapid.ID).Draw(t, "leaves") {
				f := madeUp(leaf, 100)
				if until[leaf].IsZero() {
					until[leaf] = now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "lifetime")) * time.Second)
				}
				f.until = until[leaf]
				all = append(all, f)
				seen[key{site, leaf}] = now
			}
			m.see(site, all, true, now, now)
			for k, at := range seen {
				want := now.Sub(at) <= grace && !now.After(until[k.leaf])
				got := false
				sightings, _ := m.get(k.site, now)
				for i, s := range sightings {
					if s.fingerprint == madeUp(k.leaf, 100).chain.Fingerprint() {
						got = true
						if !s.seen.Equal(at) {
							t.Fatalf("leaf %d of %s was seen at %v, not at %v", k.leaf, k.site, at, s.seen)
						}
					}
					if i > 0 && s.seen.After(sightings[i-1].seen) {
						t.Fatalf("the leaves of %s are not in order", k.site)
					}
				}
				if got != want {
					t.Fatalf("leaf %d of %s, seen %s ago: remembered %t, want %t", k.leaf, k.site, now.Sub(at), got, want)
				}
			}
		}
	})
}

// The memory stays within its bound, has at most MaxLeaves of a site, and its sums are right.
func TestTheMemoryIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 10 * siteMemory
		m := newMemory(time.Hour, most)
		now := time.Unix(1_000_000, 0)
		for i := range rapid.IntRange(1, 100).Draw(t, "steps") {
			now = now.Add(time.Second)
			domain := rapid.IntRange(0, 5).Draw(t, "domain")
			site := fmt.Sprintf("s%d.d%d.com", rapid.IntRange(0, 20).Draw(t, "site"), domain)
			m.see(site, []found{madeUp(i, rapid.IntRange(4, siteMemory).Draw(t, "size"))}, true, now, now)
			bytes, sites := 0, 0
			for name, s := range m.sites {
				if len(s.sightings) == 0 || len(s.sightings) > MaxLeaves || s.name != name {
					t.Fatalf("%d leaves of %s", len(s.sightings), name)
				}
				bytes += s.bytes
				sites++
			}
			inDomains := 0
			for i, d := range m.heavy {
				if d.index != i || m.domains[d.name] != d || d.sites.Len() == 0 {
					t.Fatalf("the domain %s is out of order", d.name)
				}
				inDomains += d.sites.Len()
			}
			if m.bytes != bytes || m.bytes > most || inDomains != sites || len(m.heavy) != len(m.domains) {
				t.Fatalf("%d bytes, counted as %d; %d sites, %d in their domains", bytes, m.bytes, sites, inDomains)
			}
			if m.sites[site] == nil {
				t.Fatalf("%s was forgotten at once", site)
			}
		}
	})
}

// Many names under one domain push out names of that domain alone.
func TestADomainPushesOutItsOwnSites(t *testing.T) {
	m := newMemory(time.Hour, 100*siteMemory)
	now := time.Unix(1_000_000, 0)
	for i := range 20 {
		m.see(fmt.Sprintf("s%d.example", i), []found{madeUp(i, 100)}, true, now, now)
	}
	for i := range 100_000 {
		m.see(fmt.Sprintf("s%d.flood.com", i), []found{madeUp(i, 100)}, true, now, now)
	}
	for i := range 20 {
		if sightings, _ := m.get(fmt.Sprintf("s%d.example", i), now); len(sightings) != 1 {
			t.Errorf("s%d.example was forgotten", i)
		}
	}
	if leaves, sites := m.leaves(now); leaves != 100 || sites != 100 {
		t.Errorf("%d leaves of %d sites, want 100", leaves, sites)
	}
	for i := range 80 { // its last ones are there
		if sightings, _ := m.get(fmt.Sprintf("s%d.flood.com", 99_999-i), now); len(sightings) != 1 {
			t.Errorf("the flood's last site but %d was forgotten", i)
		}
	}
}
