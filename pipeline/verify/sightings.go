package verify

// Which certificates this process has sent to the sinks recently. A chain has kilobytes and is the same for every
// upload of a site, so it is not sent along with each.

import (
	"time"

	"countersign/internal/fifo"
)

const (
	sightingAge  = time.Hour // after which a certificate is sent again, so that the time when it was last seen advances
	maxSightings = 4096
)

// sighting is a certificate that a site was seen with.
type sighting struct {
	site        string
	fingerprint [32]byte // of the leaf
}

// sightings remembers when sightings were sent to the sinks. Forgetting one is harmless: it is sent again. Safe for
// concurrent use.
type sightings struct {
	sent *fifo.Map[sighting, time.Time]
}

func newSightings() *sightings { return &sightings{fifo.New[sighting, time.Time](maxSightings)} }

// recent reports whether a sighting was sent and acknowledged less than sightingAge ago.
func (s *sightings) recent(x sighting, now time.Time) bool {
	at, ok := s.sent.Get(x)
	return ok && now.Sub(at) < sightingAge
}

// remember notes sightings that the log has acknowledged.
func (s *sightings) remember(acknowledged map[sighting]struct{}, now time.Time) {
	for x := range acknowledged {
		s.sent.Put(x, now)
	}
}
