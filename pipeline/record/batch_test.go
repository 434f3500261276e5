package record

import (
	"bytes"
	"slices"
	"testing"

	"countersign/pipeline/record/recordpb"
)

func TestBatchIsDoneWhenEveryClaimIsResolved(t *testing.T) {
	for _, c := range []struct {
		state BatchState
		done  bool
	}{
		{BatchState{}, false},
		{BatchState{Resolved: 3}, false},
		{BatchState{Decided: true}, true}, // no pair of it was valid
		{BatchState{Decided: true, Claims: 3, Resolved: 2}, false},
		{BatchState{Decided: true, Claims: 3, Resolved: 3}, true},
	} {
		if c.state.Done() != c.done {
			t.Errorf("%+v: %t", c.state, c.state.Done())
		}
	}
}

func TestTwoOwnersOfEveryShardFitIntoTheAnnouncedRows(t *testing.T) {
	for _, shards := range []int{1, 3, 4, 5, 16, 1000, 8192} {
		if n := 2 * shards * MaxUnstoredSinglesOfShard(shards); n > MaxUnstoredSingles || n == 0 {
			t.Errorf("%d shards may leave %d rows unstored, and an ingest keeps %d", shards, n, MaxUnstoredSingles)
		}
	}
}

// The value is part of what is stored: see MaxPartBytes for what a change breaks. This test must not be changed
// together with it.
func TestPartsAreCutWhereTheyEverWere(t *testing.T) {
	if MaxPartBytes != 819_200 {
		t.Errorf("parts are cut at %d bytes; a replay of what was stored before would count its results twice", MaxPartBytes)
	}
}

// A full part fits a record, with the longest names, two signers and the most claims that it can hold.
func TestAFullPartFitsARecord(t *testing.T) {
	const n = BatchSize
	longest := MaxPartBytes - n*HashSize // bytes of signatures, if every pair of the batch is in the part
	c := &recordpb.Claims{
		Upload: make([]byte, IDSize), Batch: 1<<32 - 1, Part: 1<<32 - 1, Site: string(bytes.Repeat([]byte("a"), 253)), AcceptedMs: 1<<63 - 1,
		Hashes: make([]byte, n*HashSize), Indexes: make([]byte, 2*n), Signatures: make([]byte, longest), SignatureLengths: make([]byte, 2*n),
		Signer: make([]byte, n), Upper: make([]byte, n/8),
		Signers: slices.Repeat([]*recordpb.Signer{{Fingerprint: make([]byte, HashSize), Algorithm: "ECDSA-P256-SHA256"}}, 2),
	}
	if size := len(encodeClaims(c)); size > MaxBytes {
		t.Errorf("a part of %d bytes makes a record of %d, at most %d fit", MaxPartBytes, size, MaxBytes)
	}
}
