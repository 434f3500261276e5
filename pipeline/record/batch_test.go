package record

import "testing"

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
