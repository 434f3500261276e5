package embedded

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/pipeline/log"
	"countersign/pipeline/log/internal/logtest"
)

func TestOneProcessPerDirectory(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	_, err := Start(logtest.Context(t), Config{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second one on the same directory: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, dir)
}

// What can't be read is refused with its path and a remedy, and left as it is.
func TestUnreadableDirectory(t *testing.T) {
	overwrite := func(name, text string) func(dir string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600) }
	}
	remove := func(name string) func(dir string) error {
		return func(dir string) error { return os.Remove(filepath.Join(dir, name)) }
	}
	for name, spoil := range map[string]func(dir string) error{
		"meta.json is garbage":       overwrite("meta.json", "{"),
		"meta.json of a later kfake": overwrite("meta.json", `{"version":99}`),
		"meta.json is missing":       remove("meta.json"),
		"topics.json is missing":     remove("topics.json"),
		"topics.json is garbage":     overwrite("topics.json", "[]"),
		"groups.log is a directory": func(dir string) error {
			path := filepath.Join(dir, "groups.log")
			return errors.Join(os.Remove(path), os.Mkdir(path, 0o700))
		},
	} {
		dir := t.TempDir()
		func() {
			b := start(t, dir)
			c := logtest.Open(t, log.Config{Brokers: b.Brokers(), Dial: b.Dial})
			logtest.Send(t, logtest.NewProducer(t, c, log.ProducerConfig{}), logtest.NewTopic(t, c, 1), 0, "x")
			c.Close()
			b.Close()
		}()
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			b, err := Start(logtest.Context(t), Config{Dir: dir, Logger: logtest.Discard})
			if err == nil {
				b.Close()
				t.Errorf("%s: started", name)
				break
			}
			if !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "move it away") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(logtest.Context(t), Config{Dir: file}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file: %v", err)
	}
}

// A torn end is cut off, after a clean stop and after another, and what is produced then is where it is said to be.
func TestTornTail(t *testing.T) {
	for name, tear := range map[string]func(whole []byte) []byte{
		"half a batch": func(whole []byte) []byte { return whole[:len(whole)-5] },
		"garbage": func(whole []byte) []byte {
			return append(whole, "garbage that is no record batch, and long enough for a header of one"...)
		},
		"zeros":             func(whole []byte) []byte { return append(whole, make([]byte, 500)...) },
		"a flipped bit":     func(whole []byte) []byte { whole[len(whole)-3] ^= 4; return whole },
		"nothing left":      func([]byte) []byte { return nil },
		"nothing but zeros": func(whole []byte) []byte { clear(whole); return whole },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := start(t, dir)
			c := logtest.Open(t, log.Config{Brokers: b.Brokers(), Dial: b.Dial, Flush: b.Flush})
			topic := logtest.NewTopic(t, c, 1)
			p := logtest.NewProducer(t, c, log.ProducerConfig{})
			logtest.Send(t, p, topic, 0, "a")
			logtest.Send(t, p, topic, 0, "b")
			c.Close()
			b.Close()
			segments, err := segmentsIn(filepath.Join(dir, partitionsDir, topic+"-0"))
			if err != nil || len(segments) != 1 {
				t.Fatal(segments, err)
			}
			whole, err := os.ReadFile(segments[0].path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(segments[0].path, tear(whole), 0o600); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"half a batch": "a", "garbage": "ab", "zeros": "ab", "a flipped bit": "a"}[name]
			for _, next := range []string{"c", "d"} {
				b, err := Start(logtest.Context(t), Config{Dir: dir, Logger: logtest.Discard})
				if err != nil {
					t.Fatal(err)
				}
				c := logtest.Open(t, log.Config{Brokers: b.Brokers(), Dial: b.Dial, Logger: logtest.Discard})
				p := logtest.NewProducer(t, c, log.ProducerConfig{})
				if offset := logtest.Send(t, p, topic, 0, next)[0]; offset != int64(len(want)) {
					t.Errorf("%s got offset %d, want %d", next, offset, len(want))
				}
				want += next
				got := ""
				for _, m := range logtest.ReadAll(t, b.config(), topic, 0) {
					got += m.Value
				}
				if got != want {
					t.Errorf("read %s, want %s", got, want)
				}
				c.Close()
				b.Close()
			}
		})
	}
}

// A group that stands beyond the log's end, as a power cut can leave it, is put at the end: what is produced next
// isn't skipped.
func TestCommitBeyondTheLog(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	c := logtest.Open(t, log.Config{Brokers: b.Brokers(), Dial: b.Dial})
	topic := logtest.NewTopic(t, c, 2)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	logtest.Send(t, p, topic, 0, "a", "b", "c")
	logtest.Send(t, p, topic, 1, "a", "b", "c")
	ctx := logtest.Context(t)
	logtest.Commit(t, b.config(), "g", topic, map[int]int64{0: 1000, 1: 2})
	c.Close()
	b.Close()
	b, err := Start(ctx, Config{Dir: dir, Logger: logtest.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	offsets, err := logtest.Committed(ctx, b.config(), "g", topic, 0, 1)
	if err != nil || offsets[0] != 3 || offsets[1] != 2 {
		t.Errorf("the group stands at %v, want 3 and 2 (%v)", offsets, err)
	}
}

// Retention deletes what is old and committed by every group, never the last batch, and offsets go on where they were
// after a restart.
func TestRetention(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	c := logtest.Open(t, log.Config{Brokers: b.Brokers(), Dial: b.Dial, Flush: b.Flush})
	topic := logtest.NewTopic(t, c, 3) // keeps records for an hour
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	for part := range 3 {
		for _, v := range logtest.Numbered("v", 10) {
			logtest.Send(t, p, topic, part, v) // a batch each
		}
	}
	ctx := logtest.Context(t)
	firsts := func() [3]int64 {
		t.Helper()
		first, end := logtest.Bounds(t, b.config(), topic, 3)
		if !slices.Equal(end, []int64{10, 10, 10}) {
			t.Errorf("the partitions end at %v, want 10 each", end)
		}
		return [3]int64(first)
	}
	retainAt := func(later time.Duration, keptBehind int64) {
		t.Helper()
		clock := func() time.Time { return time.Now().Add(later) }
		r := &retention{
			admin: admin{b.cluster, b.dialSelf}, clock: clock, logger: logtest.Logger(t), sizer: newSizer(Config{Dir: dir}),
		}
		r.sizer.keptBehind = keptBehind
		if err := r.deleteOld(ctx); err != nil {
			t.Fatal(err)
		}
	}
	logtest.Commit(t, b.config(), "fast", topic, map[int]int64{0: 10, 1: 8, 2: 8})
	logtest.Commit(t, b.config(), "slow", topic, map[int]int64{0: 10, 1: 3})
	retainAt(0, 0)
	if got := firsts(); got != [3]int64{} {
		t.Errorf("young records were deleted: the log begins at %v", got)
	}
	retainAt(2*time.Hour, keptBehind)
	if got := firsts(); got != [3]int64{9, 0, 0} {
		t.Errorf("what the slow group still has to do may refer to what was deleted: the log begins at %v", got)
	}
	retainAt(2*time.Hour, 0)
	want := [3]int64{9, 3, 0}
	if got := firsts(); got != want {
		t.Errorf("the log begins at %v, want %v", got, want)
	}
	c.Close()
	b.Close()
	b = start(t, dir)
	c = logtest.Open(t, log.Config{Brokers: b.Brokers(), Dial: b.Dial})
	if got := firsts(); got != want {
		t.Errorf("after a restart the log begins at %v, want %v", got, want)
	}
	if offset := logtest.Send(t, logtest.NewProducer(t, c, log.ProducerConfig{}), topic, 0, "x")[0]; offset != 10 {
		t.Errorf("the next record has offset %d, want 10", offset)
	}
}
