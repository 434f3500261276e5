package embedded

import (
	"bytes"
	"log/slog"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/pipeline/log"
	"countersign/pipeline/log/internal/logtest"
)

// What may be deleted early: consumed segments, the oldest first, but not those just below what is committed, nor a
// partition's newest.
func TestDeletable(t *testing.T) {
	segment := func(topic string, partition int, base, end int64, written int64) heldSegment {
		return heldSegment{topic, partition, base, end, 10, 1, time.Unix(written, 0)}
	}
	all := []heldSegment{
		segment("a", 0, 0, 10, 1), segment("a", 0, 10, 20, 6), segment("a", 0, 20, 30, 7),
		segment("a", 0, 30, math.MaxInt64, 8),
		segment("a", 1, 0, 10, 2), segment("a", 1, 10, 20, 4), segment("a", 1, 20, math.MaxInt64, 4),
		segment("events", 0, 0, 7, 3), segment("events", 0, 7, 9, 5), segment("events", 0, 9, math.MaxInt64, 9),
	}
	for _, tc := range []struct {
		keptBehind int64
		committed  [2]int64 // of topic a, by partition
		want       []int    // indexes into all
	}{
		{0, [2]int64{100, 100}, []int{0, 4, 7, 5, 8, 1, 2}},
		{0, [2]int64{20, 9}, []int{0, 7, 8, 1}},
		{0, [2]int64{0, 0}, []int{7, 8}},
		{10, [2]int64{100, 100}, []int{0, 4, 7, 8, 1}},
		{10, [2]int64{29, 20}, []int{0, 4, 7, 8}},
		{1000, [2]int64{100, 100}, nil},
	} {
		s := &sizer{keptBehind: tc.keptBehind}
		got := s.deletable(all, func(topic string, partition int) int64 {
			if topic == "a" {
				return tc.committed[partition]
			}
			return math.MaxInt64
		})
		var want []heldSegment
		for _, i := range tc.want {
			want = append(want, all[i])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: got %v", tc, got)
		}
	}
}

// What is kept of a partition below a group's offset is whole segments, of at least so many bytes if there are.
func TestKeptFrom(t *testing.T) {
	segment := func(partition int, base, end int64) heldSegment {
		return heldSegment{"a", partition, base, end, 10, 1, time.Time{}}
	}
	all := []heldSegment{
		segment(0, 0, 10), segment(0, 10, 20), segment(0, 20, 30), segment(0, 30, math.MaxInt64),
		segment(1, 50, math.MaxInt64),
	}
	for _, tc := range []struct {
		keptBehind, committed, want int64
	}{
		{0, 25, 25}, {1, 25, 10}, {10, 25, 10}, {11, 25, 0}, {10, 30, 20}, {10, 31, 20}, {20, 40, 10}, {1000, 40, 0}, {10, 0, 0},
	} {
		s := &sizer{keptBehind: tc.keptBehind}
		if got := s.keptFrom(all, "a", 0, tc.committed); got != tc.want {
			t.Errorf("%+v: got %d", tc, got)
		}
	}
}

// A log that is too large, in bytes or in batches, loses what every group has consumed, as far as needed, and nothing
// else; the rest is read as before.
func TestLogMax(t *testing.T) {
	b := start(t, t.TempDir())
	c := logtest.Open(t, b.config())
	topic := logtest.NewTopic(t, c, 2)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	value := string(bytes.Repeat([]byte{1}, 900<<10))
	const records = 40 // four segments and a part of one for each partition
	for range records {
		for part := range 2 {
			logtest.Send(t, p, topic, part, value)
		}
	}
	var warned bytes.Buffer
	r := &retention{
		admin: admin{b.cluster, b.dialSelf}, clock: time.Now, logger: slog.New(slog.NewTextHandler(&warned, nil)),
		sizer: newSizer(Config{Dir: b.flusher.syncer.dir, Registerer: prometheus.NewRegistry()}),
	}
	r.sizer.keptBehind = 1
	firsts := func() []int64 {
		t.Helper()
		if err := r.deleteEarly(logtest.Context(t)); err != nil {
			t.Fatal(err)
		}
		first, end := logtest.Bounds(t, b.config(), topic, 2)
		if !slices.Equal(end, []int64{records, records}) {
			t.Errorf("the partitions end at %v", end)
		}
		return first
	}
	if got := firsts(); !slices.Equal(got, []int64{0, 0}) {
		t.Errorf("a small log begins at %v", got)
	}
	size, batches := r.sizer.bytes.Load(), r.sizer.batches.Load()
	if size < 2*records*int64(len(value)) || batches != 2*records {
		t.Errorf("measured %d bytes in %d batches", size, batches)
	}
	logtest.Commit(t, b.config(), "fast", topic, map[int]int64{0: records, 1: records})
	logtest.Commit(t, b.config(), "slow", topic, map[int]int64{0: 25})
	r.sizer.max = 1
	got := firsts()
	if got[0] < 5 || got[0] > 25 || got[1] != 0 {
		t.Errorf("the log begins at %v: unconsumed records were deleted, or too little was", got)
	}
	if !bytes.Contains(warned.Bytes(), []byte("isn't processed yet")) {
		t.Errorf("the operator was told %q", &warned)
	}
	r.sizer.max, r.sizer.maxBatches = 1<<40, r.sizer.batches.Load()-1
	logtest.Commit(t, b.config(), "slow", topic, map[int]int64{1: records})
	before := got
	if got = firsts(); got[0] != before[0] || got[1] < 5 || got[1] > 12 {
		t.Errorf("with a batch too many the log begins at %v, before at %v: want one segment less", got, before)
	}
	all := logtest.ReadAll(t, b.config(), topic, 1)
	if len(all) != records-int(got[1]) || all[0].Offset != got[1] || all[0].Value != value {
		t.Errorf("%d records can be read", len(all))
	}
}
