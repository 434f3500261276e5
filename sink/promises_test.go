package sink

// What the fakes check: commits and events against the log.

import (
	"fmt"

	"github.com/google/uuid"

	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

// checkStored checks that all rows of a record that is committed are there.
func (w *world) checkStored(m log.Message) {
	v, err := record.DecodeVerified(m.Value)
	if err != nil {
		return
	}
	stored := func(upload []byte, batch uint32, shard int, part uint32) {
		if _, ok := w.results[resultKey{uuid.UUID(upload), batch, int32(shard), part}]; !ok {
			w.breaks("commit past %d/%d, whose result isn't stored", m.Partition, m.Offset)
		}
	}
	for _, c := range v.GetBlock().GetClaims() {
		if len(c.Hashes) > 0 && record.Shard(c.Hashes, len(w.log)) != m.Partition {
			return // a dead letter
		}
		stored(c.Upload, c.Batch, m.Partition, c.Part)
	}
	for _, o := range v.GetOutcomes().GetOutcomes() {
		stored(o.Upload, o.Batch, record.OutcomeShard, 0)
	}
	for _, u := range v.GetOutcomes().GetUploads() {
		if _, ok := w.uploads[uuid.UUID(u.Upload)]; !ok {
			w.breaks("commit past %d/%d, whose upload isn't stored", m.Partition, m.Offset)
		}
	}
}

// checkCounted checks that what a row counts is stored.
func (w *world) checkCounted(r *store.ResultRow) {
	for i := range r.Added.Len() {
		if _, ok := w.hashes[[32]byte(r.Added.Hashes[32*i:])]; !ok {
			w.breaks("a result counts hash %x as added, which isn't stored", r.Added.Hashes[32*i:32*i+4])
		}
	}
	if _, ok := w.exceptions[keyOf(r)]; !ok && r.IsException() {
		w.breaks("a result counts exceptions that aren't stored: %+v", r)
	}
	for i := range r.Duplicates.Len() {
		hash := [32]byte(r.Duplicates.Hashes[32*i:])
		owner, owned := w.hashes[hash]
		if _, ok := w.cosigners[cosignerKey{hash, r.Site}]; !ok && owned && owner.site != r.Site {
			w.breaks("a result counts hash %x as a duplicate of another site's, and the signature isn't stored", hash[:4])
		}
	}
	sum := 0
	for _, c := range r.Certificates {
		sum += int(c.Added) + int(c.Duplicates)
	}
	if sum != r.Added.Len()+r.Duplicates.Len() {
		w.breaks("%d pairs by certificate, %d added and %d duplicates", sum, r.Added.Len(), r.Duplicates.Len())
	}
}

// checkEarly checks an event that comes before its row: it is of a single signing, the durable log decides it so, and
// whoever asks for the hash that the event is about finds it.
func (w *world) checkEarly(e *recordpb.Event) {
	v := w.verdict()
	want, ok := v.results[resultKey{uuid.UUID(e.Upload), e.Batch, e.Shard, e.Part}]
	if !ok || int(e.Added) != len(want.Added.Indexes) || int(e.Duplicates) != len(want.Duplicates.Indexes) ||
		int(e.BadSignatures) != len(want.BadSignatures.Indexes) || e.Claims != want.Claims {
		w.breaks("the log doesn't decide as an event before its row says: %v", e)
		return
	}
	if !v.singles[string(e.Upload)] {
		w.breaks("event before its row, of no single signing in the durable log: %v", e)
	}
	switch s := e.GetSigned(); {
	case e.Added == 1:
		hash := [32]byte(want.Added.Hashes)
		if s == nil || [32]byte(s.Hash) != hash || v.owners[hash] != (store.Owner{Upload: want.Upload, Position: s.Position, Site: s.Site}) ||
			s.Site == "" || len(s.Signature) == 0 || s.Upper != record.Bit(want.Added.Upper, 0) {
			w.breaks("event before its row without the row: %v", e)
		}
	case e.Duplicates == 1:
		if hash := [32]byte(want.Duplicates.Hashes); !w.announced[hash] && w.hashes[hash] == (hashRow{}) {
			w.breaks("duplicate of a hash that can't be seen: %v", e)
		}
	}
}

// verdict is what a log decides.
type verdict struct {
	of      string // the log: how long, and how much of it is durable
	owners  map[[32]byte]store.Owner
	results map[resultKey]store.ResultRow
	singles map[string]bool // uploads that are single signings, in the durable part
}

// verdict returns what the log decides as it is now.
func (w *world) verdict() *verdict {
	of := fmt.Sprint(w.durable)
	for _, log := range w.log {
		of += fmt.Sprint(" ", len(log))
	}
	if w.last != nil && w.last.of == of {
		return w.last
	}
	v := &verdict{of: of, singles: map[string]bool{}}
	m := model(w)
	v.owners, v.results = m.owners, m.results
	for p, log := range w.log {
		for _, m := range log[:w.durable[p]] {
			r, _ := record.DecodeVerified(m.Value)
			for _, c := range r.GetBlock().GetClaims() {
				v.singles[string(c.Upload)] = v.singles[string(c.Upload)] || c.Single
			}
			for _, o := range r.GetOutcomes().GetOutcomes() {
				v.singles[string(o.Upload)] = v.singles[string(o.Upload)] || o.Single
			}
		}
	}
	w.last = v
	return v
}
