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
		var queue []*Ack
		for range tc.queued {
			queue = append(queue, &Ack{value: make([]byte, tc.size)})
		}
		idle := &sender{queue: queue}
		batch, open := idle.take(nil)
		if len(batch) != tc.want || len(idle.queue) != tc.queued-tc.want || !open {
			t.Errorf("of %d records of %d bytes %d go together, want %d", tc.queued, tc.size, len(batch), tc.want)
		}
	}
}
