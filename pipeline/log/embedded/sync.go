package embedded

// What a round of syncs does: it syncs each segment file that has grown since the last round, and the directories in
// which files appeared. Index files are not needed: they hold the state of transactions, which this service doesn't
// use. Neither is groups.log: an older commit means that records are handled again (I5), and clampCommits lowers a
// newer one.
//
// Which files have grown is found by asking: one fstat for each partition, since a segment below segmentBytes has no
// successor.
//
// The files are synced at the same time, so that ext4 commits its journal once for all of them: with 24 files of 500
// new bytes a round took 4 ms, and 15 ms with one file after the other.
//
// Rejected:
//   - kfake's SyncWrites, an fsync for each batch: 58 MB/s instead of 383.
//   - syncfs: one call, but no faster: 2.5 ms in the case above, and 15 ms instead of 10 with 300 KB for each file.
//     It also waits for what everybody else has written to the file system, such as a database's merges.
//   - kfake's request hooks, to learn which files have grown: a hook may run before the append, and a flush could
//     come between.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	maxSyncs       = 32 // files that are synced at once, each by a thread of the operating system
	cachedSegments = 3  // full segments of a partition that stay in the page cache
)

// syncer knows what is on disk. It belongs to one goroutine at a time.
type syncer struct {
	dir       string
	fsync     func(*os.File) error
	dropCache func(path string) error // takes a file out of the page cache

	failed     error                    // the first failed fsync: from then on it isn't known what is on disk
	partitions map[string]*partitionLog // by the name of the partition's directory
	topSynced  bool                     // the directory of the partitions' directories is on disk
}

func newSyncer(dir string) *syncer {
	return &syncer{dir: dir, fsync: (*os.File).Sync, dropCache: dropCached, partitions: map[string]*partitionLog{}}
}

// partitionLog is what is known to be on disk of one partition.
type partitionLog struct {
	active  *os.File  // the newest segment; nil: none is known
	synced  fileState // what of the active segment is on disk
	dropped int64     // segments that begin below this offset were taken out of the page cache
}

// fileState tells whether a file was written to. Its size is not enough: a write can fail half way, be cut off and be
// written again.
type fileState struct {
	size     int64
	modified time.Time
}

// syncGrown is one round. After a failed fsync, all rounds fail in the same way (errNotOnDisk).
func (s *syncer) syncGrown() error {
	if s.failed != nil {
		return s.failed
	}
	err := s.round()
	if errors.Is(err, errNotOnDisk) {
		s.failed = err
	}
	return err
}

// sync syncs one file. A failure is an errNotOnDisk that names the file.
func (s *syncer) sync(f *os.File) error {
	if err := s.fsync(f); err != nil {
		return fmt.Errorf("%w: fsync %s: %w", errNotOnDisk, f.Name(), err)
	}
	return nil
}

// close syncs what only a stopped broker has written whole, and closes the files.
func (s *syncer) close() error {
	var err error
	if s.failed == nil {
		err = errors.Join(s.syncIfThere(filepath.Join(s.dir, "groups.log")), s.syncPath(s.dir))
	}
	for _, l := range s.partitions {
		if l.active != nil {
			l.active.Close()
		}
	}
	return err
}

func (s *syncer) round() error {
	if !s.topSynced {
		if err := s.syncPath(s.dir); err != nil {
			return err
		}
	}
	top := filepath.Join(s.dir, partitionsDir)
	names, err := readNames(top)
	if errors.Is(err, os.ErrNotExist) {
		return nil // nothing was ever produced
	}
	if err != nil {
		return err
	}
	s.topSynced = true
	if err := s.addPartitions(top, names); err != nil {
		return err
	}
	var grown []*partitionLog
	for _, name := range names {
		l := s.partitions[name]
		changed, err := s.catchUp(l, filepath.Join(top, name))
		if err != nil {
			return err
		}
		if changed {
			grown = append(grown, l)
		}
	}
	return s.syncActive(grown)
}

// addPartitions begins to follow the partitions that are new, and syncs the directories that name them.
func (s *syncer) addPartitions(top string, names []string) error {
	var added []string
	for _, name := range names {
		if s.partitions[name] == nil {
			added = append(added, name)
		}
	}
	if len(added) == 0 {
		return nil
	}
	if err := errors.Join(s.syncPath(top), s.syncPath(s.dir)); err != nil {
		return err
	}
	for _, name := range added {
		s.partitions[name] = &partitionLog{}
	}
	return nil
}

// catchUp makes active the partition's newest segment, with the older ones synced, and reports whether it has grown.
func (s *syncer) catchUp(l *partitionLog, dir string) (grown bool, err error) {
	if l.active != nil {
		now, err := stateOf(l.active)
		if err != nil {
			return false, err
		}
		if now.size < segmentBytes {
			return now != l.synced, nil
		}
	}
	segments, err := segmentsIn(dir)
	if err != nil || len(segments) == 0 {
		return false, err
	}
	newest := segments[len(segments)-1]
	if l.active != nil && l.active.Name() == newest.path {
		now, err := stateOf(l.active)
		return now != l.synced, err
	}
	return true, s.roll(l, dir, segments)
}

// roll syncs the directory and every segment from the active one up to the newest. The newest becomes active, with
// nothing known to be on disk of it.
func (s *syncer) roll(l *partitionLog, dir string, segments []segment) error {
	if err := s.syncPath(dir); err != nil {
		return err
	}
	from := 0
	if l.active != nil {
		for i, segment := range segments {
			if segment.path == l.active.Name() {
				from = i
			}
		}
	}
	last := len(segments) - 1
	for _, segment := range segments[from:last] {
		if err := s.syncIfThere(segment.path); err != nil {
			return err
		}
	}
	s.dropOld(l, segments)
	newest, err := os.Open(segments[last].path)
	if err != nil {
		return err
	}
	if l.active != nil {
		l.active.Close()
	}
	l.active, l.synced = newest, fileState{}
	return nil
}

// dropOld takes the older segments out of the page cache. The stages have read them, if all is well: a day of log
// would push out what the database reads. A reader that is further behind reads the disk. The log works as well when
// dropping fails.
func (s *syncer) dropOld(l *partitionLog, segments []segment) {
	for _, segment := range segments[:max(0, len(segments)-1-cachedSegments)] {
		if segment.base >= l.dropped {
			_ = s.dropCache(segment.path)
			l.dropped = segment.base + 1
		}
	}
}

// syncActive syncs the active segments, at most maxSyncs at once.
func (s *syncer) syncActive(logs []*partitionLog) error {
	errs := make([]error, len(logs))
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxSyncs)
	for i, l := range logs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			before, err := stateOf(l.active) // what is appended from here on is the next round's
			if err == nil {
				err = s.sync(l.active)
			}
			if err == nil {
				l.synced = before
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func stateOf(f *os.File) (fileState, error) {
	info, err := f.Stat()
	if err != nil {
		return fileState{}, err
	}
	return fileState{info.Size(), info.ModTime()}, nil
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func (s *syncer) syncPath(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return s.sync(file)
}

// syncIfThere is syncPath for a file that retention may have deleted.
func (s *syncer) syncIfThere(path string) error {
	err := s.syncPath(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
