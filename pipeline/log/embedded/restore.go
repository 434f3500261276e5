package embedded

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

// Preparing the data directory for kfake, before it loads it. The layout is kfake's: partitions/<topic>-<n>/<base offset>.dat hold
// record batches back to back, snapshot.json beside them what a clean stop knew of the partition, topics.json the topics,
// groups.log the committed offsets.
//
// After a kill the snapshots don't fit the segments, and kfake then reads every record of every partition into memory at once
// before it starts. With a snapshot that fits it reads a segment at a time, but takes the segment's size from the snapshot, even
// where it has just cut a torn batch off, and from then on writes and reads at different places. So the last segment is
// checked and cut here, and a snapshot written that says what is true.

const (
	partitionsDir = "partitions"
	segmentSuffix = ".dat"
	snapshotFile  = "snapshot.json"
)

// restore checks what kfake would misread, and removes what it would misuse.
func restore(dir string, log *slog.Logger) error {
	if err := complete(dir); err != nil {
		return err
	}
	// Group members as of the last clean stop. They were this broker's clients and are gone.
	if err := os.Remove(filepath.Join(dir, "session_state.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	top := filepath.Join(dir, partitionsDir)
	names, err := readNames(top)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, name := range names {
		if err := restorePartition(filepath.Join(top, name), log); err != nil {
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

// restorePartition cuts what a kill or a power cut tore at the log's end, and writes the snapshot.
func restorePartition(dir string, log *slog.Logger) error {
	segments, err := segmentsIn(dir)
	if err != nil {
		return err
	}
	var end, size int64
	for len(segments) > 0 {
		last := segments[len(segments)-1]
		if end, size, err = mendSegment(last.path, log); err != nil {
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
	snap := snapshot{Version: 1, HighWatermark: end, LastStableOffset: end, LogStartOffset: logStart(dir, segments[0].base)}
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

// logStart is the first offset that wasn't deleted, as the snapshot of the last clean stop knew it. What was deleted since but
// shares a segment with records that were not is there again, as it is in Kafka after an unclean stop.
func logStart(dir string, base int64) int64 {
	var old snapshot
	if raw, err := os.ReadFile(filepath.Join(dir, snapshotFile)); err == nil && json.Unmarshal(raw, &old) == nil {
		return max(base, old.LogStartOffset)
	}
	return base
}

// mendSegment cuts the file after its last whole batch, and returns the offset after that batch and the file's size.
func mendSegment(path string, log *slog.Logger) (end, size int64, err error) {
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
		log.Warn("embedded broker: the last stop tore a record batch that was never acknowledged, or not flushed; it is cut off", "file", path, "bytes", torn)
		return end, size, os.Truncate(path, size)
	}
	return end, size, nil
}

// batchOverhead is the size of a record batch header (KIP-98).
const batchOverhead = 61

// wholeBatch measures the record batch at the start of raw, by its length and checksum, and returns the offset after its last
// record. n is 0 if there is no whole batch. The format is KIP-98's: base offset (8 bytes), length of what follows (4), leader
// epoch (4), magic (1), CRC-32C of the rest (4), attributes (2), last offset delta (4), and so on, big-endian.
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
	if crc32.Checksum(raw[checkedFrom:size], crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(raw[crcAt:]) {
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

// complete refuses a directory that lacks a file which kfake would take for new, and then overwrite what is left.
func complete(dir string) error {
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
	base int64
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
