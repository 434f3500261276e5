package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"countersign/pipeline/log"
	"countersign/pipeline/log/internal/logtest"
)

// A full disk is told once when it begins and once when it ends, with the figures.
func TestRoom(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1, 0)
	var free, total int64 = 100 << 30, 200 << 30
	r := newRoom(Config{
		Dir: "/data/log", Clock: func() time.Time { return now }, Logger: slog.New(slog.NewTextHandler(&out, nil)),
	})
	r.statfs = func(string) (int64, int64, error) { return free, total, nil }
	b := &Broker{room: r}
	for _, step := range []struct {
		free, total int64
		min         int64
		fails       error         // a write, before the look
		after       time.Duration // since the step before
		full        bool
		says        string // in what is logged by the step; empty: nothing is
	}{
		{free: 1 << 30, total: 200 << 30},
		{free: 1<<30 - 1, total: 200 << 30, full: true, says: "level=ERROR"},
		{free: 5, total: 200 << 30, full: true},
		{free: 1 << 30, total: 200 << 30, full: true}, // a little more than needed ends it
		{free: 2 << 30, total: 200 << 30, says: "level=INFO"},
		{free: 10, total: 500},
		{free: 9, total: 500, full: true, says: "needed=10"},
		{free: 11, total: 500, says: "level=INFO"},
		{free: 99, total: 500, min: 100, full: true, says: "free=99"},
		{free: 99, total: 500, min: -1, says: "level=INFO"},
		{free: 99, total: 500, min: -1, fails: syscall.EDQUOT, full: true, says: "level=ERROR"},
		{free: 99, total: 500, min: -1, fails: syscall.ENOSPC, after: time.Second, full: true},
		{free: 99, total: 500, min: -1, after: fullAfterWrite - 1, full: true},
		{free: 99, total: 500, min: -1, after: 1, says: "level=INFO"},
	} {
		out.Reset()
		now = now.Add(step.after)
		free, total, r.min = step.free, step.total, step.min
		if step.fails != nil {
			r.writeFailed(step.fails)
		}
		r.look()
		err := b.Room()
		named := errors.Is(err, ErrDiskFull) && strings.Contains(err.Error(), "/data/log")
		if (err != nil) != step.full || step.full && !named {
			t.Errorf("%+v: %v", step, err)
		}
		if lines := strings.Count(out.String(), "\n"); step.says == "" && lines != 0 || step.says != "" && lines != 1 ||
			!strings.Contains(out.String(), step.says) {
			t.Errorf("%+v: logged %q", step, &out)
		}
	}
	if free, total, err := statfs(t.TempDir()); err != nil || free < 1 || total < free {
		t.Errorf("free %d of %d, %v", free, total, err)
	}
}

// What kfake says of a failed write reaches whoever can do something, and isn't logged each time.
func TestFailedWrites(t *testing.T) {
	var out bytes.Buffer
	dir := t.TempDir()
	logger := slog.New(slog.NewTextHandler(&out, nil))
	r := newRoom(Config{Dir: dir, Clock: time.Now, MinFreeDisk: -1, Logger: logger})
	l := brokerLogger{dir, logger, r, newFailure()}
	fails := func(op string, err error) {
		l.Logf(kfake.LogLevelWarn, "persist batch %s-%d: %v", "t", 0, &fs.PathError{Op: op, Path: "x", Err: err})
	}
	for range 100 {
		fails("write", syscall.ENOSPC)
	}
	if (&Broker{room: r}).Room() == nil || l.failure.get() != nil || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("room %v, failure %v, logged %q", r.full, l.failure.get(), &out)
	}
	fails("open", syscall.EMFILE)
	if l.failure.get() != nil || !strings.Contains(out.String(), "too many open files") {
		t.Errorf("failure %v, logged %q", l.failure.get(), &out)
	}
	fails("write", syscall.EIO)
	if err := l.failure.get(); !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "write x") {
		t.Errorf("failure %v", err)
	}
}

// A commit that was written by half is cut off, and what is committed after it survives a kill.
func TestTornGroupsLog(t *testing.T) {
	entry := func(json string) []byte {
		body := append([]byte{1, 0}, json...)
		raw := binary.LittleEndian.AppendUint32(nil, uint32(len(body)))
		return append(binary.LittleEndian.AppendUint32(raw, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))), body...)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "groups.log")
	if err := mendGroupsLog(dir, logtest.Discard); err != nil {
		t.Errorf("without the file: %v", err)
	}
	whole := append(entry(`{"a":1}`), entry(`{"b":2}`)...)
	for n := range len(whole) + 1 {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := mendGroupsLog(dir, logtest.Discard); err != nil {
			t.Fatal(err)
		}
		want := n / (len(whole) / 2) * (len(whole) / 2)
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, whole[:want]) {
			t.Errorf("of %d bytes %d are left, want %d: %v", n, len(got), want, err)
		}
	}
	// kfake's own file is whole.
	b := start(t, filepath.Join(dir, "log"))
	c := logtest.Open(t, b.config())
	topic := logtest.NewTopic(t, c, 1)
	logtest.Send(t, logtest.NewProducer(t, c, log.ProducerConfig{}), topic, 0, "x")
	logtest.Commit(t, b.config(), "g", topic, map[int]int64{0: 1})
	before, err := os.ReadFile(filepath.Join(dir, "log", "groups.log"))
	if err != nil || len(before) == 0 {
		t.Fatalf("%d bytes, %v", len(before), err)
	}
	if err := mendGroupsLog(filepath.Join(dir, "log"), logtest.Discard); err != nil {
		t.Error(err)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "log", "groups.log")); err != nil || !bytes.Equal(before, after) {
		t.Errorf("%d bytes of %d are left: %v", len(after), len(before), err)
	}
}

// A round that fails before it has synced anything leaves nothing in doubt: the next one is believed.
func TestRoundThatCannotOpenHeals(t *testing.T) {
	dir := t.TempDir()
	partition := filepath.Join(dir, partitionsDir, "topic-0")
	if err := os.MkdirAll(partition, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(partition, "0"+segmentSuffix)); err != nil {
		t.Fatal(err)
	}
	failure := newFailure()
	f := newFlusher(dir, failure)
	if err := f.flush(t.Context()); err == nil {
		t.Error("flushed what can't be opened")
	}
	if err := os.WriteFile(filepath.Join(partition, "nowhere"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.flush(t.Context()); err != nil || failure.get() != nil {
		t.Errorf("the next round: %v, %v", err, failure.get())
	}
	if err := f.close(); err != nil {
		t.Error(err)
	}
}

// A producer that knows of the room is refused at once when a write fails for want of room: its record is not stored,
// and it may not be sent again. One that doesn't know sends the record again until there is room.
func TestProducersOnAFullDisk(t *testing.T) {
	b := start(t, t.TempDir())
	c := logtest.Open(t, log.Config{Brokers: b.Brokers(), Dial: b.Dial, Flush: b.Flush})
	topic := logtest.NewTopic(t, c, 1)
	knows := logtest.NewProducer(t, c, log.ProducerConfig{Room: b.Room})
	goesOn := logtest.NewProducer(t, c, log.ProducerConfig{})
	logtest.Send(t, knows, topic, 0, "before")
	var room atomic.Bool
	refused := make(chan struct{}, 1000)
	b.cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		if room.Load() {
			return nil, nil, false
		}
		b.room.writeFailed(syscall.ENOSPC) // as brokerLogger does
		select {
		case refused <- struct{}{}:
		default:
		}
		return refuse(req.(*kmsg.ProduceRequest)), nil, true
	})
	ctx := logtest.Context(t)
	patient, err := goesOn.Send(ctx, topic, 0, []byte("patient"))
	if err != nil {
		t.Fatal(err)
	}
	logtest.Receive(t, refused, "refusal")
	ack, err := knows.Send(ctx, topic, 0, []byte("refused"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = ack.Wait(ctx)
	if !errors.Is(err, log.ErrFull) || !errors.Is(err, ErrDiskFull) || log.MayBeStored(err) {
		t.Errorf("refused with %v, may be stored: %v", err, log.MayBeStored(err))
	}
	room.Store(true)
	if offset, err := patient.Wait(ctx); err != nil || offset != 1 {
		t.Errorf("offset %d, %v", offset, err)
	}
}

// Records fail at once when the broker can't go on. Nobody knows what is on the disk then.
func TestProducersOfABrokenBroker(t *testing.T) {
	b := start(t, t.TempDir())
	c := logtest.Open(t, log.Config{Brokers: b.Brokers(), Dial: b.Dial, Flush: b.Flush, Broken: b.Err})
	topic := logtest.NewTopic(t, c, 1)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	logtest.Send(t, p, topic, 0, "before")
	broken := errors.New("input/output error")
	b.cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		b.failure.set(broken) // as brokerLogger does
		return refuse(req.(*kmsg.ProduceRequest)), nil, true
	})
	ctx := logtest.Context(t)
	ack, err := p.Send(ctx, topic, 0, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = ack.Wait(ctx); !errors.Is(err, broken) || !errors.Is(err, log.ErrUnavailable) || !log.MayBeStored(err) {
		t.Errorf("refused with %v, may be stored: %v", err, log.MayBeStored(err))
	}
}

// refuse is the answer of a broker that could not write.
func refuse(req *kmsg.ProduceRequest) kmsg.Response {
	answer := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			partition := kmsg.NewProduceResponseTopicPartition()
			partition.Partition, partition.ErrorCode = p.Partition, -1 // an unexpected error
			topic.Partitions = append(topic.Partitions, partition)
		}
		answer.Topics = append(answer.Topics, topic)
	}
	return answer
}

// A disk that has become read only ends the broker though nobody writes, and one that is full doesn't.
func TestTheDiskIsTouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Broker{failure: newFailure()}
		errs := []error{nil, syscall.ENOSPC, os.ErrPermission, syscall.EROFS}
		b.watchDisk(t.Context(), "/data/log/LOCK", func(path string) error {
			if b.Err() != nil {
				t.Errorf("failed with %v", b.Err())
			}
			err := errs[0]
			errs = errs[1:]
			return &fs.PathError{Op: "chtimes", Path: path, Err: err}
		})
		if err := b.Err(); len(errs) != 0 || !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), "write to /data/log:") {
			t.Errorf("failure %v", err)
		}
	})
}
