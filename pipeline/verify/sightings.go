package verify

// Which certificates this process has told the sinks of lately: a chain is kilobytes, and the same for every upload of a site.

import (
	"sync"
	"time"
)

const (
	sightingAge  = time.Hour // after which a chain is told again, so that the times seen advance
	maxSightings = 4096
)

type sighting struct {
	site        string
	fingerprint [32]byte
}

type sightings struct {
	mu   sync.Mutex
	told map[sighting]time.Time
}

// recent reports whether s was told and acknowledged less than sightingAge ago.
func (s *sightings) recent(x sighting, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.told[x]
	return ok && now.Sub(at) < sightingAge
}

// note remembers acknowledged sightings. Past the bound it starts afresh: telling again is harmless.
func (s *sightings) note(seen map[sighting]struct{}, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told == nil || len(s.told)+len(seen) > maxSightings {
		s.told = make(map[sighting]time.Time)
	}
	for x := range seen {
		s.told[x] = now
	}
}
