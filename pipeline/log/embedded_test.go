package log

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

func TestOneProcessPerDirectory(t *testing.T) {
	dir := t.TempDir()
	e := startEmbedded(t, dir)
	_, err := StartEmbedded(within(t, 10*time.Second), EmbeddedConfig{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second one on the same directory: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	startEmbedded(t, dir)
}

// What can't be read is refused with its path and a remedy, and left as it is.
func TestUnreadableDirectory(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"meta.json is garbage": func(dir string) error { return os.WriteFile(filepath.Join(dir, "meta.json"), []byte("{"), 0o600) },
		"meta.json of a later kfake": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "meta.json"), []byte(`{"version":99}`), 0o600)
		},
		"meta.json is missing":   func(dir string) error { return os.Remove(filepath.Join(dir, "meta.json")) },
		"topics.json is missing": func(dir string) error { return os.Remove(filepath.Join(dir, "topics.json")) },
		"topics.json is garbage": func(dir string) error { return os.WriteFile(filepath.Join(dir, "topics.json"), []byte("[]"), 0o600) },
		"groups.log is a directory": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "groups.log")), os.Mkdir(filepath.Join(dir, "groups.log"), 0o700))
		},
	} {
		dir := t.TempDir()
		func() {
			e := startEmbedded(t, dir)
			c := connect(t, Config{Brokers: e.Brokers()})
			send(t, newProducer(t, c, ProducerConfig{}), newTopic(t, c, 1), 0, "x")
			c.Close()
			e.Close()
		}()
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			e, err := StartEmbedded(within(t, 10*time.Second), EmbeddedConfig{Dir: dir, Logger: discard})
			if err == nil {
				e.Close()
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
	if _, err := StartEmbedded(within(t, 10*time.Second), EmbeddedConfig{Dir: file}); err == nil || !strings.Contains(err.Error(), file) {
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
			e := startEmbedded(t, dir)
			c := connect(t, Config{Brokers: e.Brokers(), Flush: e.Flush})
			topic := newTopic(t, c, 1)
			p := newProducer(t, c, ProducerConfig{})
			send(t, p, topic, 0, "a")
			send(t, p, topic, 0, "b")
			c.Close()
			e.Close()
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
				e, err := StartEmbedded(within(t, 10*time.Second), EmbeddedConfig{Dir: dir, Logger: discard})
				if err != nil {
					t.Fatal(err)
				}
				c := connect(t, Config{Brokers: e.Brokers(), Logger: discard})
				if offset := send(t, newProducer(t, c, ProducerConfig{}), topic, 0, next)[0]; offset != int64(len(want)) {
					t.Errorf("%s got offset %d, want %d", next, offset, len(want))
				}
				want += next
				got := ""
				for _, m := range readAll(t, c, topic, 0) {
					got += string(m.Value)
				}
				if got != want {
					t.Errorf("read %s, want %s", got, want)
				}
				c.Close()
				e.Close()
			}
		})
	}
}

// A group that stands beyond the log's end, as a power cut can leave it, is put at the end: what is produced next isn't skipped.
func TestCommitBeyondTheLog(t *testing.T) {
	dir := t.TempDir()
	e := startEmbedded(t, dir)
	c := connect(t, Config{Brokers: e.Brokers()})
	topic := newTopic(t, c, 2)
	p := newProducer(t, c, ProducerConfig{})
	send(t, p, topic, 0, "a", "b", "c")
	send(t, p, topic, 1, "a", "b", "c")
	ctx := within(t, 30*time.Second)
	if err := commitOutside(ctx, c, "g", topic, []kafka.OffsetCommit{{Partition: 0, Offset: 1000}, {Partition: 1, Offset: 2}}); err != nil {
		t.Fatal(err)
	}
	c.Close()
	e.Close()
	e, err := StartEmbedded(ctx, EmbeddedConfig{Dir: dir, Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	c = connect(t, Config{Brokers: e.Brokers()})
	offsets, err := c.committed(ctx, "g", topic, []int{0, 1})
	if err != nil || offsets[0] != 3 || offsets[1] != 2 {
		t.Errorf("the group stands at %v, want 3 and 2 (%v)", offsets, err)
	}
}

// Retention deletes what is old and committed by every group, never the last batch, and offsets go on where they were after a
// restart.
func TestRetention(t *testing.T) {
	dir := t.TempDir()
	e := startEmbedded(t, dir)
	c := connect(t, Config{Brokers: e.Brokers(), Flush: e.Flush})
	topic := newTopic(t, c, 3) // keeps records for an hour
	p := newProducer(t, c, ProducerConfig{})
	for part := range 3 {
		for _, v := range numbered("v", 10) {
			send(t, p, topic, part, v) // a batch each
		}
	}
	ctx := within(t, 30*time.Second)
	firsts := func(c *Client) (firsts [3]int64) {
		held, err := c.offsetRanges(ctx, topic, 3)
		if err != nil {
			t.Fatal(err)
		}
		for part, r := range held {
			if firsts[part] = r.first; r.end != 10 {
				t.Errorf("partition %d ends at %d, want 10", part, r.end)
			}
		}
		return firsts
	}
	retainAt := func(later time.Duration) {
		t.Helper()
		r := &Embedded{admin: e.admin, now: func() time.Time { return time.Now().Add(later) }}
		if err := r.retain(ctx); err != nil {
			t.Fatal(err)
		}
	}
	commit := func(group string, offsets ...kafka.OffsetCommit) {
		t.Helper()
		if err := commitOutside(ctx, c, group, topic, offsets); err != nil {
			t.Fatal(err)
		}
	}
	commit("fast", kafka.OffsetCommit{Partition: 0, Offset: 10}, kafka.OffsetCommit{Partition: 1, Offset: 8}, kafka.OffsetCommit{Partition: 2, Offset: 8})
	commit("slow", kafka.OffsetCommit{Partition: 0, Offset: 10}, kafka.OffsetCommit{Partition: 1, Offset: 3})
	retainAt(0)
	if got := firsts(c); got != [3]int64{} {
		t.Errorf("young records were deleted: the log begins at %v", got)
	}
	retainAt(2 * time.Hour)
	want := [3]int64{9, 3, 0}
	if got := firsts(c); got != want {
		t.Errorf("the log begins at %v, want %v", got, want)
	}
	c.Close()
	e.Close()
	e = startEmbedded(t, dir)
	c = connect(t, Config{Brokers: e.Brokers()})
	if got := firsts(c); got != want {
		t.Errorf("after a restart the log begins at %v, want %v", got, want)
	}
	if offset := send(t, newProducer(t, c, ProducerConfig{}), topic, 0, "x")[0]; offset != 10 {
		t.Errorf("the next record has offset %d, want 10", offset)
	}
}
