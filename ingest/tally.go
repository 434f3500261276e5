package ingest

import (
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// tally counts the events of one upload until every batch is complete. Events may repeat, and come in any order: they are keyed as the rows
// they tell of.
type tally struct {
	open    int // batches not complete yet
	batches []batchState
	rows    map[rowKey]struct{} // rows counted, so that a repeated event counts once
	rowsMax int                 // a row holds at least one pair, so there can't be more
	reason  string              // of the first error; may be missing
}

type batchState struct {
	judged bool // the verify outcome was seen
	done   bool
	claims uint64

	added, duplicates, badSignatures, errs uint64
}

type rowKey struct {
	batch uint32
	shard int32
	part  uint32
}

// newTally counts for an upload of so many pairs, of which nothing has been told yet.
func newTally(pairs int) *tally {
	n := record.Batches(uint64(pairs))
	return &tally{open: n, batches: make([]batchState, n), rows: make(map[rowKey]struct{}), rowsMax: pairs + n}
}

// count adds an event and reports whether it was the last that was missing.
func (t *tally) count(e *recordpb.Event) bool {
	if e.GetBatch() < 1 || int(e.GetBatch()) > len(t.batches) || len(t.rows) >= t.rowsMax {
		return false
	}
	key := rowKey{e.GetBatch(), e.GetShard(), e.GetPart()}
	if _, ok := t.rows[key]; ok {
		return false
	}
	t.rows[key] = struct{}{}
	b := &t.batches[e.GetBatch()-1]
	if e.GetShard() == record.OutcomeShard {
		b.judged, b.claims = true, uint64(e.GetClaims())
		b.badSignatures += uint64(e.GetBadSignatures())
		b.errs += uint64(e.GetErrors())
		if t.reason == "" {
			t.reason = e.GetReason()
		}
	} else {
		b.added += uint64(e.GetAdded())
		b.duplicates += uint64(e.GetDuplicates())
	}
	if !b.done && b.judged && b.added+b.duplicates == b.claims {
		b.done = true
		t.open--
	}
	return t.open == 0
}

// status is how far the upload is: batches up to the first one that isn't complete.
func (t *tally) status() status {
	s := status{waiting: len(t.batches)}
	for i := range t.batches {
		b := &t.batches[i]
		if !b.done {
			break
		}
		s.add(b.added, b.duplicates, b.badSignatures, b.errs)
	}
	return s
}

// outcome is what became of the whole upload, once every batch is complete.
func (t *tally) outcome() outcome {
	s := t.status()
	return outcome{added: s.added, duplicates: s.duplicates, badSignatures: s.badSignatures, errs: s.errs, reason: t.reason}
}
