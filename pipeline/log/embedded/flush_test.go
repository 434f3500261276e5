package embedded

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kmsg"

	"countersign/pipeline/log"
	"countersign/pipeline/log/internal/logtest"
)

// syncLog notes how much of each file was there when it was last synced.
type syncLog struct {
	mu    sync.Mutex
	sizes map[string]int64
	calls atomic.Int64
	fail  atomic.Pointer[error]
}

func watchSyncs(b *Broker) *syncLog {
	s := &syncLog{sizes: map[string]int64{}}
	b.flusher.syncer.fsync = func(f *os.File) error {
		s.calls.Add(1)
		if err := s.fail.Load(); err != nil {
			return *err
		}
		info, err := f.Stat()
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.sizes[f.Name()] = info.Size()
		s.mu.Unlock()
		return nil
	}
	return s
}

func (s *syncLog) synced(path string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sizes[path]
}

// A flush syncs every segment that was written since the last one, those that were filled and followed by another
// included, and the directories that name them; a flush with nothing to do syncs nothing.
func TestFlushSyncsWhatGrew(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	syncs := watchSyncs(b)
	c := logtest.Open(t, log.Config{Brokers: b.Brokers(), Dial: b.Dial, Flush: b.Flush})
	topic := logtest.NewTopic(t, c, 3)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	ctx := logtest.Context(t)
	large := string(bytes.Repeat([]byte{1}, log.MaxValueBytes))
	for round, n := range []int{1, 45, 0, 2, 20} {
		for range n {
			logtest.Send(t, p, topic, round%2, large)
		}
		logtest.Send(t, p, topic, 2, "small")
		if err := p.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		files := 0
		err := filepath.WalkDir(filepath.Join(dir, partitionsDir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != segmentSuffix {
				return err
			}
			files++
			info, err := d.Info()
			if err == nil && syncs.synced(path) != info.Size() {
				t.Errorf("round %d: of %s %d bytes are synced, it has %d", round, path, syncs.synced(path), info.Size())
			}
			for _, d := range []string{filepath.Dir(path), filepath.Join(dir, partitionsDir), dir} {
				if syncs.synced(d) == 0 {
					t.Errorf("round %d: directory %s of %s was not synced", round, d, path)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if round == 4 && files < 5 {
			t.Errorf("only %d segments: none was filled", files)
		}
		before := syncs.calls.Load()
		if err := p.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if n := syncs.calls.Load() - before; n != 0 {
			t.Errorf("round %d: %d files synced with nothing to do", round, n)
		}
	}
}

// Full segments leave the page cache once, synced, and not while somebody may be reading them.
func TestOldSegmentsLeaveThePageCache(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	syncs := watchSyncs(b)
	dropped := map[string]int{}
	b.flusher.syncer.dropCache = func(path string) error {
		if dropped[path]++; syncs.synced(path) == 0 {
			t.Errorf("%s isn't synced", path)
		}
		return dropCached(path)
	}
	c := logtest.Open(t, log.Config{Brokers: b.Brokers(), Dial: b.Dial, Flush: b.Flush})
	topic := logtest.NewTopic(t, c, 1)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	large := string(bytes.Repeat([]byte{1}, log.MaxValueBytes))
	for range 10 {
		for range 7 {
			logtest.Send(t, p, topic, 0, large)
		}
		if err := p.Flush(logtest.Context(t)); err != nil {
			t.Fatal(err)
		}
	}
	segments, err := segmentsIn(filepath.Join(dir, partitionsDir, topic+"-0"))
	if err != nil || len(segments) < cachedSegments+3 {
		t.Fatalf("%d segments, %v", len(segments), err)
	}
	for i, s := range segments {
		want := 0
		if i < len(segments)-1-cachedSegments {
			want = 1
		}
		if dropped[s.path] != want {
			t.Errorf("segment %d of %d was dropped %d times, want %d", i, len(segments), dropped[s.path], want)
		}
	}
}

// Callers that come while a round is under way share the next one.
func TestFlushIsShared(t *testing.T) {
	dir := t.TempDir()
	partition := filepath.Join(dir, partitionsDir, "topic-0")
	if err := os.MkdirAll(partition, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(partition, "0"+segmentSuffix), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		disk := make(chan struct{})
		f := newFlusher(dir, newFailure())
		f.syncer.fsync = func(*os.File) error {
			<-disk
			return nil
		}
		var wg sync.WaitGroup
		flush := func() {
			wg.Go(func() {
				if err := f.flush(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		flush()
		synctest.Wait() // the round waits for the disk
		for range 32 {
			flush()
		}
		synctest.Wait() // the callers wait for the next round
		f.mu.Lock()
		next := f.next
		f.mu.Unlock()
		close(disk)
		wg.Wait()
		if next == nil {
			t.Fatal("nobody waits for a next round")
		}
		select {
		case <-next.done:
		default:
			t.Error("the callers didn't wait for the next round")
		}
		if err := f.close(); err != nil {
			t.Error(err)
		}
	})
}

// No caller returns before its record is synced, however many call at once.
func TestFlushWaitsForItsRecord(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	syncs := watchSyncs(b)
	c := logtest.Open(t, log.Config{Brokers: b.Brokers(), Dial: b.Dial, Flush: b.Flush})
	topic := logtest.NewTopic(t, c, 1)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	logtest.Send(t, p, topic, 0, "first")
	path := filepath.Join(dir, partitionsDir, topic+"-0", "0"+segmentSuffix)
	ctx := logtest.Context(t)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 10 {
				logtest.Send(t, p, topic, 0, "v")
				info, err := os.Stat(path)
				if err != nil {
					t.Error(err)
					return
				}
				if err := p.Flush(ctx); err != nil {
					t.Error(err)
				}
				if got := syncs.synced(path); got < info.Size() {
					t.Errorf("flushed with %d of %d bytes synced", got, info.Size())
				}
			}
		})
	}
	wg.Wait()
}

// What was acknowledged before a commit is on disk before the commit is made.
func TestCommitFollowsFlush(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	syncs := watchSyncs(b)
	c := logtest.Open(t, log.Config{Brokers: b.Brokers(), Dial: b.Dial, Flush: b.Flush})
	in, out := logtest.NewTopic(t, c, 1), logtest.NewTopic(t, c, 1)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	logtest.Send(t, p, in, 0, logtest.Numbered("v", 5)...)
	path := filepath.Join(dir, partitionsDir, out+"-0", "0"+segmentSuffix)
	logtest.Send(t, p, out, 0, "the partition's first")
	type commit struct{ offset, synced int64 }
	commits := make(chan commit, 100)
	b.cluster.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		for _, t := range req.(*kmsg.OffsetCommitRequest).Topics {
			for _, p := range t.Partitions {
				commits <- commit{p.Offset, syncs.synced(path)}
			}
		}
		return nil, nil, false
	})
	logtest.OnPartition(t, c, in, func(_ context.Context, part *log.Partition) {
		for next := range int64(5) {
			logtest.Send(t, p, out, 0, "what came of it")
			info, err := os.Stat(path)
			if err != nil {
				t.Error(err)
				return
			}
			part.Commit(next + 1)
			for made := (commit{}); made.offset != next+1; {
				made = logtest.Receive(t, commits, "commit")
				if made.offset == next+1 && made.synced < info.Size() {
					t.Errorf("committed %d with %d of %d bytes on disk", made.offset, made.synced, info.Size())
				}
			}
		}
	})
}

// After a failed sync nothing counts as flushed any more.
func TestFlushFailureStays(t *testing.T) {
	dir := t.TempDir()
	b, err := Start(logtest.Context(t), Config{Dir: dir, Logger: logtest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	syncs := watchSyncs(b)
	c := logtest.Open(t, log.Config{Brokers: b.Brokers(), Dial: b.Dial, Flush: b.Flush})
	topic := logtest.NewTopic(t, c, 1)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	broken := errors.New("input/output error")
	syncs.fail.Store(&broken)
	logtest.Send(t, p, topic, 0, "x")
	ctx := logtest.Context(t)
	if err := b.Err(); err != nil {
		t.Errorf("failed before anything did: %v", err)
	}
	if err := p.Flush(ctx); !errors.Is(err, broken) || !strings.Contains(err.Error(), dir) {
		t.Errorf("flush: %v", err)
	}
	logtest.Receive(t, b.Failed(), "failure")
	if err := b.Err(); !errors.Is(err, broken) || !strings.Contains(err.Error(), "fsync "+dir) {
		t.Errorf("the broker failed with %v", err)
	}
	syncs.fail.Store(nil)
	if err := p.Flush(ctx); !errors.Is(err, broken) {
		t.Errorf("the next flush: %v", err)
	}
	if err := b.Close(); !errors.Is(err, broken) {
		t.Errorf("close: %v", err)
	}
	if err := b.Flush(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("flush after close: %v", err)
	}
}
