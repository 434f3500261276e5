package log

import "testing"

// Records that are queued together go together, as long as the batch stays below the limit of a stock broker.
func TestBatchSize(t *testing.T) {
	for _, tc := range []struct{ size, queued, want int }{
		{100, 1000, 1000},
		{100_000, 30, 9},
		{MaxValueBytes, 3, 1},
		{0, 5, 5},
	} {
		s := newSender(nil, topicPartition{})
		for range tc.queued {
			s.queue.Put(&sentRecord{value: make([]byte, tc.size)})
		}
		if n := len(s.nextBatch(nil)); n != tc.want || s.queue.Len() != tc.queued-tc.want {
			t.Errorf("of %d records of %d bytes %d go together, want %d", tc.queued, tc.size, n, tc.want)
		}
	}
}
