package ingest

// The hashes of late single signings. Their callers are told before the rows are stored (sink, Config.Linger), so who asks right after
// that is answered from here. Every process has all of them, by the events. What is here stays right: a hash has one owner for ever (I4).

import (
	"sync"

	"github.com/google/uuid"

	"countersign/pipeline/record/recordpb"
	"countersign/sink/clickhouse"
)

// maxFresh is how many hashes are kept, some 500 bytes each: what 10,000 signings a second leave behind until they are stored, six times.
const maxFresh = 1 << 14

// fresh keeps the last so many hashes, oldest out first.
type fresh struct {
	mu     sync.Mutex
	signed map[[32]byte]clickhouse.SignedHash // guarded by mu
	ring   [][32]byte                         // guarded by mu
	at     int                                // place of the oldest once the ring is full; guarded by mu
}

func newFresh(most int) *fresh {
	return &fresh{signed: make(map[[32]byte]clickhouse.SignedHash), ring: make([][32]byte, 0, most)}
}

// add takes in what events tell of. They are the hub's to keep.
func (f *fresh) add(events []*recordpb.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range events {
		s := e.GetSigned()
		if s == nil {
			continue
		}
		hash := [32]byte(s.GetHash())
		if _, known := f.signed[hash]; !known {
			f.makeRoom(hash)
		}
		f.signed[hash] = clickhouse.SignedHash{
			Upload: uuid.UUID(e.GetUpload()), Position: s.GetPosition(), Site: s.GetSite(), SignedAt: s.GetAcceptedMs(),
			Algorithm: s.GetAlgorithm(), Signature: s.GetSignature(), Certificate: [32]byte(s.GetCertificate()),
		}
	}
}

// makeRoom puts hash into the ring, in place of the oldest if it is full.
func (f *fresh) makeRoom(hash [32]byte) {
	if len(f.ring) < cap(f.ring) {
		f.ring = append(f.ring, hash)
		return
	}
	delete(f.signed, f.ring[f.at])
	f.ring[f.at] = hash
	f.at = (f.at + 1) % len(f.ring)
}

// get returns who signed a hash, if it is one of the last.
func (f *fresh) get(hash [32]byte) (clickhouse.SignedHash, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.signed[hash]
	return s, ok
}
