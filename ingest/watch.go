package ingest

// The event hub wakes synchronous calls. It is fed with every record of topic events, which every process sees, and counts for those who
// wait, and for those who may poll, until every batch is complete. Events may be missing: whoever waits asks the store now and then as well.

import (
	"sync"

	"github.com/google/uuid"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

// maxFresh is how many single signings are kept, some 500 bytes each: as many as four sinks may leave unstored (sink, maxDecided).
const maxFresh = 1 << 14

type hub struct {
	fresh  *lately[[32]byte, store.SignedHash] // single signings, whose rows may not be stored yet
	polled *lately[uuid.UUID, *polled]

	mu      sync.Mutex
	watches map[uuid.UUID][]*watch // guarded by mu
}

// outcome is what became of a whole upload.
type outcome struct {
	added, duplicates, badSignatures, errs uint64
	reason                                 string // of the first error; may be missing
}

// watch is one caller's interest in one upload.
type watch struct {
	id       uuid.UUID
	complete chan struct{} // closed by the hub once result is final
	result   outcome       // valid once complete is closed
	tally    *tally        // guarded by the hub's mu
}

func newHub() *hub {
	return &hub{
		fresh: newLately[[32]byte, store.SignedHash](maxFresh), polled: newLately[uuid.UUID, *polled](maxPolled),
		watches: make(map[uuid.UUID][]*watch),
	}
}

// signedHash is the row that will be stored. It stays right: a hash has one owner for ever (I4).
func signedHash(upload uuid.UUID, s *recordpb.Signed) store.SignedHash {
	return store.SignedHash{
		Upload: upload, Position: s.GetPosition(), Site: s.GetSite(), SignedAt: s.GetAcceptedMs(),
		Algorithm: s.GetAlgorithm(), Signature: s.GetSignature(), Certificate: [32]byte(s.GetCertificate()),
	}
}

// watch registers interest in an upload of so many pairs, at most MaxSyncPairs. It must come before the seal is written; forget
// must follow.
func (h *hub) watch(id uuid.UUID, pairs int) *watch {
	w := &watch{id: id, complete: make(chan struct{}), tally: newTally(pairs)}
	if pairs == 0 {
		close(w.complete)
		return w
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watches[id] = append(h.watches[id], w)
	return w
}

// forget ends a watch.
func (h *hub) forget(w *watch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(w)
}

func (h *hub) remove(w *watch) {
	list := h.watches[w.id]
	for i, other := range list {
		if other == w {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(h.watches, w.id)
	} else {
		h.watches[w.id] = list
	}
}

// feed takes one record of topic events. One that can't be decoded is left out: whoever waits for it asks the store.
func (h *hub) feed(value []byte) error {
	m, err := record.DecodeEvents(value)
	if err != nil {
		return err
	}
	for _, e := range m.GetEvents() { // before anybody is told that the result is there
		id := uuid.UUID(e.GetUpload())
		if s := e.GetSigned(); s != nil {
			h.fresh.put([32]byte(s.GetHash()), signedHash(id, s))
		}
		if p, ok := h.polled.get(id); ok {
			p.tell(e)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range m.GetEvents() {
		for _, w := range h.watches[uuid.UUID(e.GetUpload())] {
			if w.tally.count(e) {
				w.result = w.tally.outcome()
				close(w.complete)
				h.remove(w)
			}
		}
	}
	return nil
}
