package kafkaio

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Preparing the data directory for kfake, before it loads it. The layout is kfake's: partitions/<topic>-<n>/<base offset>.dat hold
// record batches back to back, topics.json the topics, groups.log the committed offsets.

const (
	partitionsDir = "partitions"
	segmentSuffix = ".dat"
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
	return nil
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
		if !isSegment(name) {
			continue
		}
		if base, err := strconv.ParseInt(strings.TrimSuffix(name, segmentSuffix), 10, 64); err == nil {
			found = append(found, segment{base, filepath.Join(dir, name)})
		}
	}
	slices.SortFunc(found, func(a, b segment) int { return cmp.Compare(a.base, b.base) })
	return found, nil
}
