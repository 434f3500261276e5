package ingest

// The event hub wakes synchronous calls. It is fed with every record of topic events, which every process sees, and counts for those
// who wait until every batch is complete. Of other uploads it keeps the hashes that may not be stored yet, and that something happened. Events may repeat, be missing, and come in any order: they
// are keyed as the rows they tell of, and whoever waits asks the store now and then as well.

import (
	"sync"

	"github.com/google/uuid"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/clickhouse"
)

// maxFresh is how many single signings are kept, some 500 bytes each: what 10,000 a second leave behind until they are stored, six times.
const maxFresh = 1 << 14

type hub struct {
	fresh  *lately[[32]byte, clickhouse.SignedHash] // single signings, whose rows may not be stored yet
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

	// Guarded by the hub's mu until complete is closed, constant afterwards.
	result  outcome
	open    int // batches not complete yet
	batches []batchState
	rows    map[rowKey]struct{} // rows counted, so that a repeated event counts once
	rowsMax int                 // a row holds at least one pair, so there can't be more
}

type batchState struct {
	judged  bool // the verify outcome was seen
	done    bool
	claims  uint64
	settled uint64 // added and duplicates
}

type rowKey struct {
	batch uint32
	shard int32
	part  uint32
}

func newHub() *hub {
	return &hub{
		fresh: newLately[[32]byte, clickhouse.SignedHash](maxFresh), polled: newLately[uuid.UUID, *polled](maxPolled),
		watches: make(map[uuid.UUID][]*watch),
	}
}

// signedHash is the row that will be stored. It stays right: a hash has one owner for ever (I4).
func signedHash(upload uuid.UUID, s *recordpb.Signed) clickhouse.SignedHash {
	return clickhouse.SignedHash{
		Upload: upload, Position: s.GetPosition(), Site: s.GetSite(), SignedAt: s.GetAcceptedMs(),
		Algorithm: s.GetAlgorithm(), Signature: s.GetSignature(), Certificate: [32]byte(s.GetCertificate()),
	}
}

// watch registers interest in an upload of so many pairs, at most MaxSyncPairs. It must come before the seal is written; forget
// must follow.
func (h *hub) watch(id uuid.UUID, pairs int) *watch {
	n := record.Batches(uint64(pairs))
	w := &watch{
		id: id, complete: make(chan struct{}), open: n, batches: make([]batchState, n), rows: make(map[rowKey]struct{}), rowsMax: pairs + n,
	}
	if n == 0 {
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
		h.happened(id)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range m.GetEvents() {
		for _, w := range h.watches[uuid.UUID(e.GetUpload())] {
			if w.count(e) {
				close(w.complete)
				h.remove(w)
			}
		}
	}
	return nil
}

// count adds an event and reports whether it was the last that was missing.
func (w *watch) count(e *recordpb.Event) bool {
	if e.GetBatch() < 1 || int(e.GetBatch()) > len(w.batches) || len(w.rows) >= w.rowsMax {
		return false
	}
	key := rowKey{e.GetBatch(), e.GetShard(), e.GetPart()}
	if _, ok := w.rows[key]; ok {
		return false
	}
	w.rows[key] = struct{}{}
	b := &w.batches[e.GetBatch()-1]
	if e.GetShard() == record.OutcomeShard {
		b.judged, b.claims = true, uint64(e.GetClaims())
		w.result.badSignatures += uint64(e.GetBadSignatures())
		w.result.errs += uint64(e.GetErrors())
		if w.result.reason == "" {
			w.result.reason = e.GetReason()
		}
	} else {
		b.settled += uint64(e.GetAdded()) + uint64(e.GetDuplicates())
		w.result.added += uint64(e.GetAdded())
		w.result.duplicates += uint64(e.GetDuplicates())
	}
	if !b.done && b.judged && b.settled == b.claims {
		b.done = true
		w.open--
	}
	return w.open == 0
}
