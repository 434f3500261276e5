package results

// Counting the events of one upload until all of its batches are done. Events may repeat and come in any order. Each
// has the key of the row that it announces, so an event that repeats counts once.

import (
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// tally is guarded by the lock of its owner: the hub for a Watch, the remembered upload otherwise.
type tally struct {
	status  Status // over the batches that are done, from the first on
	batches []batchTally
	counted map[rowKey]struct{}
	maxRows int    // bounds counted: a row holds at least one pair or is a verify outcome
	reason  string // of the first error; may be missing
}

type batchTally struct {
	record.BatchState
	counts Counts
}

type rowKey struct {
	batch uint32
	shard int32
	part  uint32
}

// newTally counts for an upload of so many pairs, of which no event has come yet.
func newTally(pairs uint64) *tally {
	n := record.Batches(pairs)
	return &tally{
		status: Status{Waiting: n}, batches: make([]batchTally, n),
		counted: make(map[rowKey]struct{}), maxRows: int(pairs) + n,
	}
}

// count adds an event and reports whether the upload is complete with it.
func (t *tally) count(e *recordpb.Event) bool {
	if e.GetBatch() < 1 || int(e.GetBatch()) > len(t.batches) || len(t.counted) >= t.maxRows {
		return false
	}
	key := rowKey{e.GetBatch(), e.GetShard(), e.GetPart()}
	if _, ok := t.counted[key]; ok {
		return false
	}
	t.counted[key] = struct{}{}
	t.batches[e.GetBatch()-1].count(e)
	if t.reason == "" {
		t.reason = e.GetReason()
	}
	for !t.status.Complete() && t.batches[t.status.Done].Done() {
		t.status.addBatch(t.batches[t.status.Done].counts)
	}
	return t.status.Complete()
}

func (b *batchTally) count(e *recordpb.Event) {
	if e.GetShard() == record.OutcomeShard {
		b.Decided, b.Claims = true, uint64(e.GetClaims())
		b.counts.add(Counts{BadSignatures: uint64(e.GetBadSignatures()), Errors: uint64(e.GetErrors())})
		return
	}
	b.Resolved += uint64(e.GetAdded()) + uint64(e.GetDuplicates())
	b.counts.add(Counts{Added: uint64(e.GetAdded()), Duplicates: uint64(e.GetDuplicates())})
}

// outcome is what became of the upload, once it is complete.
func (t *tally) outcome() Outcome {
	return Outcome{Counts: t.status.Counts, Reason: t.reason}
}
