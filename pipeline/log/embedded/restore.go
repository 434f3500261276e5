package embedded

// Preparing the data directory for kfake, before kfake loads it. The layout is kfake's:
//
//	partitions/<topic>-<n>/<base offset>.dat   segments: record batches back to back
//	partitions/<topic>-<n>/snapshot.json       what a clean stop knew of the partition
//	topics.json, meta.json                     the topics, and the version of all this
//	groups.log                                 the committed offsets
//	session_state.json                         the members of groups at a clean stop
//
// After a kill the snapshots don't fit the segments. kfake then reads every record of every partition into memory at
// once before it starts. With a snapshot that fits, kfake reads one segment at a time, but believes the segment's
// size in the snapshot, even where it has just cut a torn batch off. From then on it would write and read at
// different places. So restore checks and cuts the last segment of each partition, and writes a snapshot that says
// what is true.

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	partitionsDir = "partitions"
	segmentSuffix = ".dat"
	snapshotFile  = "snapshot.json"
)

// restore checks what kfake would misread, and removes what it would misuse.
func restore(dir string, logger *slog.Logger) error {
	if err := checkComplete(dir); err != nil {
		return err
	}
	// The members at the last clean stop were this broker's clients and are gone.
	if err := os.Remove(filepath.Join(dir, "session_state.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := mendGroupsLog(dir, logger); err != nil {
		return err
	}
	top := filepath.Join(dir, partitionsDir)
	names, err := readNames(top)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, name := range names {
		if err := restorePartition(filepath.Join(top, name), logger); err != nil {
			return err
		}
	}
	return nil
}

// snapshot is kfake's snapshot.json, version 1, as far as a log without transactions and with a single broker needs it.
type snapshot struct {
	Version          int               `json:"version"`
	HighWatermark    int64             `json:"high_watermark"`
	LastStableOffset int64             `json:"last_stable_offset"`
	LogStartOffset   int64             `json:"log_start_offset"`
	CreatedAt        time.Time         `json:"created_at"`
	Segments         []snapshotSegment `json:"segments"`
}

type snapshotSegment struct {
	BaseOffset int64 `json:"base_offset"`
	Size       int64 `json:"size"`
}

// restorePartition cuts off what a kill or a power cut tore at the end of the partition's log, and writes the snapshot.
func restorePartition(dir string, logger *slog.Logger) error {
	segments, err := segmentsIn(dir)
	if err != nil {
		return err
	}
	for _, segment := range segments {
		// After an fsync that failed, the page cache may hold what the disk doesn't.
		_ = dropCached(segment.path)
	}
	var end, size int64
	for len(segments) > 0 {
		last := segments[len(segments)-1]
		if end, size, err = mendSegment(last.path, logger); err != nil {
			return err
		}
		if size > 0 {
			break
		}
		if err := os.Remove(last.path); err != nil {
			return err
		}
		segments = segments[:len(segments)-1]
	}
	if len(segments) == 0 {
		return nil // nothing was produced, or none of it is left
	}
	start := logStart(dir, segments[0].base)
	snap := snapshot{Version: 1, HighWatermark: end, LastStableOffset: end, LogStartOffset: start}
	for i, s := range segments {
		info, err := os.Stat(s.path)
		if err != nil {
			return err
		}
		if i == 0 {
			snap.CreatedAt = info.ModTime()
		}
		snap.Segments = append(snap.Segments, snapshotSegment{s.base, info.Size()})
	}
	return writeJSON(filepath.Join(dir, snapshotFile), snap)
}

// logStart is the first offset that wasn't deleted, as the snapshot of the last clean stop knew it; base is that of
// the first segment. Records that were deleted since then are there again if they share a segment with others, as
// they are in Kafka after an unclean stop.
func logStart(dir string, base int64) int64 {
	var old snapshot
	if raw, err := os.ReadFile(filepath.Join(dir, snapshotFile)); err == nil && json.Unmarshal(raw, &old) == nil {
		return max(base, old.LogStartOffset)
	}
	return base
}

// mendSegment cuts the file after its last whole batch, and returns the offset after that batch and the file's size.
func mendSegment(path string, logger *slog.Logger) (end, size int64, err error) {
	raw, err := os.ReadFile(path) // about segmentBytes
	if err != nil {
		return 0, 0, err
	}
	for {
		n, next := wholeBatch(raw[size:])
		if n == 0 {
			break
		}
		size, end = size+int64(n), next
	}
	if torn := int64(len(raw)) - size; torn > 0 {
		logger.Warn("embedded broker: the last stop tore a record batch that was never acknowledged, or not flushed; "+
			"it is cut off", "file", path, "bytes", torn)
		return end, size, os.Truncate(path, size)
	}
	return end, size, nil
}

// batchOverhead is the size of a record batch header (KIP-98).
const batchOverhead = 61

// wholeBatch measures the record batch at the start of raw, by its length and checksum, and returns the offset after
// its last record. n is 0 if there is no whole batch. The format is KIP-98's: base offset (8 bytes), length of what
// follows (4), leader epoch (4), magic (1), CRC-32C of the rest (4), attributes (2), last offset delta (4), and so
// on, big-endian.
func wholeBatch(raw []byte) (n int, next int64) {
	const lengthAt, magicAt, crcAt, checkedFrom, deltaAt = 8, 16, 17, 21, 23
	if len(raw) < batchOverhead {
		return 0, 0
	}
	length := int64(binary.BigEndian.Uint32(raw[lengthAt:]))
	size := length + lengthAt + 4
	if size < batchOverhead || size > int64(len(raw)) || raw[magicAt] != 2 {
		return 0, 0
	}
	sum := crc32.Checksum(raw[checkedFrom:size], crc32.MakeTable(crc32.Castagnoli))
	if sum != binary.BigEndian.Uint32(raw[crcAt:]) {
		return 0, 0
	}
	base := int64(binary.BigEndian.Uint64(raw))
	return int(size), base + int64(int32(binary.BigEndian.Uint32(raw[deltaAt:]))) + 1
}

// writeJSON replaces a file, whole or not at all.
func writeJSON(path string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.Create(path + ".tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// checkComplete refuses a directory that has records but lacks a file without which kfake would begin a new log over
// them.
func checkComplete(dir string) error {
	logs, err := readNames(filepath.Join(dir, partitionsDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, name := range []string{"meta.json", "topics.json"} {
		_, err := os.Stat(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) && len(logs) > 0 {
			return fmt.Errorf("%s is missing although there are partitions", name)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// segment is a file of record batches.
type segment struct {
	base int64 // offset of its first record
	path string
}

// segmentsIn lists a partition's segments in offset order.
func segmentsIn(dir string) ([]segment, error) {
	names, err := readNames(dir)
	if err != nil {
		return nil, err
	}
	var found []segment
	for _, name := range names {
		if !strings.HasSuffix(name, segmentSuffix) {
			continue
		}
		if base, err := strconv.ParseInt(strings.TrimSuffix(name, segmentSuffix), 10, 64); err == nil {
			found = append(found, segment{base, filepath.Join(dir, name)})
		}
	}
	slices.SortFunc(found, func(a, b segment) int { return cmp.Compare(a.base, b.base) })
	return found, nil
}
