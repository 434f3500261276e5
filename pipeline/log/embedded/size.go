package embedded

// The log's size. Time alone doesn't bound it: a day of uploads may be more than the disk, and a day of small batches
// more than the memory, because kfake keeps 72 bytes for each batch. So consumed segments are deleted early, the oldest
// first, while the log has more bytes than LogMax or more batches than maxBatches. What is never deleted early:
//   - what some group of the topic has still to commit: a backlog can exceed both bounds, and MinFreeDisk ends that;
//   - the keptBehind bytes before that: what a record there refers to may have to be read again;
//   - a partition's newest segment.
//
// A topic that no group has committed on, such as the events, is consumed by nobody and bounded like a consumed one.

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	mostDefaultLog = 32 << 30 // the default of LogMax is this, or half of the file system if that is less
	defaultLogPart = 2
	maxBatches     = 1 << 20  // 75 MB of heap
	keptBehind     = 64 << 20 // bytes of each partition below the lowest committed offset
	indexSuffix    = ".idx"   // of kfake's file beside each segment, with an entry of indexEntry bytes for each batch
	indexEntry     = 15
)

// heldSegment is a segment as retention sees it.
type heldSegment struct {
	topic     string
	partition int
	base, end int64 // offsets; end is the base of the next segment, or the largest number there is for the newest one
	bytes     int64
	batches   int64
	written   time.Time // last
}

// sizer measures the log. It belongs to retention's goroutine, but for what its metrics read.
type sizer struct {
	dir        string
	max        int64 // bytes
	maxBatches int64
	keptBehind int64

	full map[string]heldSegment // by path: segments that have a successor, and don't change any more
	over bool                   // the operator was told that the log is larger than it should be

	bytes, batches atomic.Int64 // as measured last
	deleted        prometheus.Counter
}

func newSizer(cfg Config) *sizer {
	s := &sizer{
		dir: cfg.Dir, max: cfg.LogMax, maxBatches: maxBatches, keptBehind: keptBehind, full: map[string]heldSegment{},
		deleted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "countersign_log_deleted_early_bytes_total",
			Help: "Processed bytes that the embedded log deleted before their retention: --log-max, or too many batches.",
		}),
	}
	if s.max == 0 {
		s.max = mostDefaultLog
		if _, total, err := statfs(cfg.Dir); err == nil {
			s.max = min(s.max, total/defaultLogPart)
		}
	}
	if cfg.Registerer != nil {
		gauge := func(name, help string, value *atomic.Int64) prometheus.Collector {
			return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
				func() float64 { return float64(value.Load()) })
		}
		cfg.Registerer.MustRegister(s.deleted,
			gauge("countersign_log_bytes", "Bytes of records in the embedded log; --log-max bounds what is consumed.", &s.bytes),
			gauge("countersign_log_batches", "Record batches in the embedded log, each with 72 bytes of heap.", &s.batches))
	}
	return s
}

// measure lists the log's segments, each partition's in offset order.
func (s *sizer) measure() ([]heldSegment, error) {
	top := filepath.Join(s.dir, partitionsDir)
	names, err := readNames(top)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var all []heldSegment
	full := make(map[string]heldSegment, len(s.full))
	for _, name := range names {
		dash := strings.LastIndexByte(name, '-')
		partition, err := strconv.Atoi(name[dash+1:])
		if dash < 0 || err != nil {
			continue
		}
		segments, err := segmentsIn(filepath.Join(top, name))
		if err != nil {
			return nil, err
		}
		for i, segment := range segments {
			held, known := s.full[segment.path]
			if !known {
				if held, err = stat(segment); os.IsNotExist(err) {
					continue // deleted since
				} else if err != nil {
					return nil, err
				}
				held.topic, held.partition, held.end = name[:dash], partition, math.MaxInt64
			}
			if i+1 < len(segments) {
				held.end = segments[i+1].base
				full[segment.path] = held
			}
			all = append(all, held)
		}
	}
	s.full = full
	bytes, batches := total(all)
	s.bytes.Store(bytes)
	s.batches.Store(batches)
	return all, nil
}

func stat(s segment) (heldSegment, error) {
	data, err := os.Stat(s.path)
	if err != nil {
		return heldSegment{}, err
	}
	held := heldSegment{base: s.base, bytes: data.Size(), written: data.ModTime()}
	if index, err := os.Stat(strings.TrimSuffix(s.path, segmentSuffix) + indexSuffix); err == nil {
		held.batches = index.Size() / indexEntry
	}
	return held, nil
}

func total(segments []heldSegment) (bytes, batches int64) {
	for _, s := range segments {
		bytes += s.bytes
		batches += s.batches
	}
	return bytes, batches
}

// deletable returns the segments that may be deleted early. committed returns the lowest offset that a group of the
// topic has committed, or the largest number there is where no group has.
func (s *sizer) deletable(all []heldSegment, committed func(topic string, partition int) int64) []heldSegment {
	var found []heldSegment
	type place struct {
		topic     string
		partition int
	}
	kept := map[place]int64{} // consumed bytes above the segment
	for _, segment := range slices.Backward(all) {
		at := place{segment.topic, segment.partition}
		limit := committed(segment.topic, segment.partition)
		if segment.base >= limit {
			continue
		}
		consumed := segment.end <= limit && segment.end != math.MaxInt64
		if consumed && kept[at] >= s.keptBehind {
			found = append(found, segment)
		} else if consumed || limit == math.MaxInt64 {
			kept[at] += segment.bytes
		}
	}
	slices.SortStableFunc(found, func(a, b heldSegment) int {
		return cmp.Or(a.written.Compare(b.written), cmp.Compare(a.base, b.base))
	})
	return found
}

// keptFrom returns where the keptBehind bytes of a partition begin that end at an offset, or a little before.
func (s *sizer) keptFrom(all []heldSegment, topic string, partition int, committed int64) int64 {
	from, kept := committed, int64(0)
	for _, segment := range slices.Backward(all) {
		if kept >= s.keptBehind {
			break
		}
		if segment.topic == topic && segment.partition == partition && segment.base < committed {
			from = segment.base
			if segment.end <= committed { // else how much of it lies below isn't known
				kept += segment.bytes
			}
		}
	}
	return from
}

// deleteEarly deletes consumed segments, the oldest first, while the log is larger than it should be.
func (r *retention) deleteEarly(ctx context.Context) error {
	all, err := r.sizer.measure()
	if err != nil {
		return err
	}
	bytes, batches := total(all)
	over := func() bool { return bytes > r.sizer.max || batches > r.sizer.maxBatches }
	if !over() {
		r.sizer.over = false
		return nil
	}
	groups, err := r.admin.groupOffsets(ctx)
	if err != nil {
		return err
	}
	below := map[string]map[int]int64{}
	before := bytes
	for _, segment := range r.sizer.deletable(all, lowestCommitted(groups)) {
		if !over() {
			break
		}
		bytes, batches = bytes-segment.bytes, batches-segment.batches
		if below[segment.topic] == nil {
			below[segment.topic] = map[int]int64{}
		}
		below[segment.topic][segment.partition] = max(below[segment.topic][segment.partition], segment.end)
	}
	for topic, offsets := range below {
		if err := r.admin.deleteRecords(topic, offsets); err != nil {
			return fmt.Errorf("topic %s: %w", topic, err)
		}
	}
	r.sizer.deleted.Add(float64(before - bytes))
	r.sizer.bytes.Store(bytes)
	r.sizer.batches.Store(batches)
	if over() && !r.sizer.over {
		r.logger.Warn("embedded broker: the log is larger than it should be, because what is left isn't processed yet",
			"path", r.sizer.dir, "bytes", bytes, "most_bytes", r.sizer.max,
			"batches", batches, "most_batches", r.sizer.maxBatches)
	}
	r.sizer.over = over()
	return nil
}

// lowestCommitted finds the lowest offset that a group of the topic has committed. A group that has committed on the
// topic, but not on the partition, stands at 0. Without a group on the topic it is the largest number there is.
func lowestCommitted(groups map[string]topicOffsets) func(topic string, partition int) int64 {
	return func(topic string, partition int) int64 {
		lowest := int64(math.MaxInt64)
		for _, offsets := range groups {
			if committed, uses := offsets[topic]; uses {
				lowest = min(lowest, committed[partition])
			}
		}
		return lowest
	}
}
