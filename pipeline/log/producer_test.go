package log_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"countersign/pipeline/log"
	"countersign/pipeline/log/internal/logtest"
)

// Many goroutines send to the same partitions: each one's records stay in its order, every offset given is where the
// record is, and nothing is there that wasn't sent.
func TestOrderAndOffsets(t *testing.T) {
	cfg := testConfig(t)
	c := logtest.Open(t, cfg)
	const partitions, senders, each = 3, 8, 300
	topic := logtest.NewTopic(t, c, partitions)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	var mu sync.Mutex
	want := map[string]int64{} // partition and value: offset
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for part := range partitions {
				values := logtest.Numbered(fmt.Sprint(s), each)
				for i, offset := range logtest.Send(t, p, topic, part, values...) {
					mu.Lock()
					want[fmt.Sprint(part, " ", values[i])] = offset
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for part := range partitions {
		msgs := logtest.ReadAll(t, cfg, topic, part)
		if len(msgs) != senders*each {
			t.Fatalf("partition %d has %d records, want %d", part, len(msgs), senders*each)
		}
		last := map[string]string{}
		for i, m := range msgs {
			v := m.Value
			if m.Offset != want[fmt.Sprint(part, " ", v)] || m.Offset != int64(i) {
				t.Fatalf("record %d of partition %d is %s at offset %d, acknowledged at %d",
					i, part, v, m.Offset, want[fmt.Sprint(part, " ", v)])
			}
			sender, _, _ := strings.Cut(v, "-")
			if last[sender] >= v {
				t.Fatalf("%s comes after %s", v, last[sender])
			}
			last[sender] = v
		}
	}
}

// Records sent while a request is under way go together; a batch stays below the limit of a stock broker.
func TestBatching(t *testing.T) {
	cfg := testConfig(t)
	c := logtest.Open(t, cfg)
	topic := logtest.NewTopic(t, c, 1)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	large := bytes.Repeat([]byte{7}, log.MaxValueBytes)
	ctx := logtest.Context(t)
	var acks []log.Ack
	for range 5 {
		a, err := p.Send(ctx, topic, 0, large)
		if err != nil {
			t.Fatal(err)
		}
		acks = append(acks, a)
	}
	for _, a := range acks {
		if _, err := a.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range logtest.ReadAll(t, cfg, topic, 0) {
		if m.Value != string(large) {
			t.Fatal("a large record came back changed")
		}
	}
}

func TestRecordTime(t *testing.T) {
	cfg := testConfig(t)
	at := time.Date(2026, 3, 4, 5, 6, 7, 8e6, time.UTC)
	cfg.Clock = func() time.Time { return at }
	c := logtest.Open(t, cfg)
	topic := logtest.NewTopic(t, c, 1)
	logtest.Send(t, logtest.NewProducer(t, c, log.ProducerConfig{}), topic, 0, "x")
	if m := logtest.ReadAll(t, cfg, topic, 0)[0]; !m.Time.Equal(at) {
		t.Errorf("the record's time is %v, want the client's %v", m.Time, at)
	}
}

func TestSendRefusals(t *testing.T) {
	c := logtest.Open(t, testConfig(t))
	topic := logtest.NewTopic(t, c, 1)
	p := c.NewProducer(log.ProducerConfig{MaxQueuedBytes: 4 << 20})
	ctx := logtest.Context(t)
	_, err := p.Send(ctx, topic, 0, make([]byte, log.MaxValueBytes+1))
	if !errors.Is(err, log.ErrTooLarge) || log.MayBeStored(err) {
		t.Errorf("too large a record: %v", err)
	}
	if err := p.Close(ctx); err != nil {
		t.Fatal(err)
	}
	_, err = p.Send(ctx, topic, 0, []byte("x"))
	if !errors.Is(err, log.ErrClosed) || log.MayBeStored(err) {
		t.Errorf("send after close: %v", err)
	}
}

// A full queue makes Send wait, and the wait ends with the context, or when a record's end makes room.
func TestQueueIsBounded(t *testing.T) {
	b := newBlockingBroker(t)
	c := logtest.Open(t, log.Config{Brokers: b.brokers})
	topic := logtest.NewTopic(t, c, 1)
	p := logtest.NewProducer(t, c, log.ProducerConfig{MaxQueuedBytes: 1000})
	b.block()
	ctx := logtest.Context(t)
	first, err := p.Send(ctx, topic, 0, make([]byte, 900))
	if err != nil {
		t.Fatal(err)
	}
	brief, cancel := context.WithTimeout(ctx, 50*time.Millisecond) // without a bound, Send would return before it ends
	defer cancel()
	_, err = p.Send(brief, topic, 0, make([]byte, 900))
	if !errors.Is(err, context.DeadlineExceeded) || log.MayBeStored(err) {
		t.Errorf("send to a full queue: %v", err)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := p.Send(ctx, topic, 0, make([]byte, 900))
		sent <- err
	}()
	b.release()
	if _, err := first.Wait(ctx); err != nil {
		t.Error(err)
	}
	if err := logtest.Receive(t, sent, "room after the first record ended"); err != nil {
		t.Error(err)
	}
}

// blockingBroker is a broker in memory that can leave produce requests unanswered, and with them everything else.
type blockingBroker struct {
	brokers []string
	cluster *kfake.Cluster
	arrived chan struct{} // capacity 1: a produce request has come while the broker is blocked
	open    chan struct{}
	once    sync.Once
}

func newBlockingBroker(t *testing.T) *blockingBroker {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	b := &blockingBroker{
		brokers: cluster.ListenAddrs(), cluster: cluster, arrived: make(chan struct{}, 1), open: make(chan struct{}),
	}
	t.Cleanup(func() {
		b.release()
		cluster.Close()
	})
	return b
}

// block makes the next produce request wait until release.
func (b *blockingBroker) block() {
	b.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		select {
		case b.arrived <- struct{}{}:
		default:
		}
		<-b.open
		return nil, nil, false
	})
}

func (b *blockingBroker) release() { b.once.Do(func() { close(b.open) }) }

// A broker that went away: records fail after the timeout, as unavailable, and the error says truly whether they can
// be stored. When the broker is back, on the same data, records go through and the earlier ones are there.
func TestBrokerStoppedAndBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx := logtest.Context(t)
	e := startEmbedded(t, dir)
	failed := make(chan struct{}, 1)
	c := logtest.Open(t, log.Config{Brokers: e.Brokers(), Logger: signalOn("produce attempt failed", failed)})
	topic := logtest.NewTopic(t, c, 2)
	p := logtest.NewProducer(t, c, log.ProducerConfig{Timeout: 700 * time.Millisecond})
	logtest.Eventually(t, "a record acknowledged within its timeout", func() bool {
		a, err := p.Send(ctx, topic, 0, []byte("before"))
		if err == nil {
			_, err = a.Wait(ctx)
		}
		return err == nil
	})
	e.Close()
	// kfake closes its sockets a little after that. From then on the sender knows that nobody reads what it would
	// write.
	logtest.Eventually(t, "hung up", func() bool { return p.HungUp(topic, 0) })
	for partition, state := range []string{"an idle connection", "no connection"} {
		a, err := p.Send(ctx, topic, partition, []byte("lost"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Wait(ctx); !errors.Is(err, log.ErrUnavailable) || log.MayBeStored(err) {
			t.Errorf("with %s: %v", state, err)
		}
	}
	select {
	case <-failed: // attempts to send what is lost
	default:
	}
	waiting := logtest.NewProducer(t, c, log.ProducerConfig{})
	a, err := waiting.Send(ctx, topic, 0, []byte("after"))
	if err != nil {
		t.Fatal(err)
	}
	logtest.Receive(t, failed, "attempt to send while the broker is away")
	restartEmbedded(t, e, dir)
	offset, err := a.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	all := logtest.ReadAll(t, log.Config{Brokers: e.Brokers()}, topic, 0)
	for _, r := range all {
		if r.Value != "before" && r.Offset != offset || r.Value == "lost" {
			t.Errorf("%q is at offset %d", r.Value, r.Offset)
		}
	}
	if len(all) < 2 || all[len(all)-1].Value != "after" {
		t.Errorf("the log has %v", all)
	}
}

// signalOn is a logger that puts a value into c, if there is room, when a message is logged.
func signalOn(message string, c chan<- struct{}) *slog.Logger {
	w := writerFunc(func(line []byte) (int, error) {
		if bytes.Contains(line, []byte(message)) {
			select {
			case c <- struct{}{}:
			default:
			}
		}
		return len(line), nil
	})
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// A broker that takes the request and doesn't answer leaves the record's fate open. A record whose time was up before
// it was written, as on a machine that is busy, says nothing about that: it gets more time.
func TestUnansweredMayBeStored(t *testing.T) {
	t.Parallel()
	for timeout := 250 * time.Millisecond; timeout < logtest.Limit; timeout *= 2 {
		b := newBlockingBroker(t)
		c := logtest.Open(t, log.Config{Brokers: b.brokers})
		topic := logtest.NewTopic(t, c, 1)
		b.block()
		p := logtest.NewProducer(t, c, log.ProducerConfig{Timeout: timeout})
		ctx := logtest.Context(t)
		a, err := p.Send(ctx, topic, 0, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.Wait(ctx)
		if !errors.Is(err, log.ErrUnavailable) {
			t.Errorf("an unanswered record: %v", err)
		}
		if log.MayBeStored(err) {
			logtest.Receive(t, b.arrived, "request at the broker")
			return
		}
	}
	t.Error("no request was written, or none of those written may be stored")
}

// Close waits for what is queued.
func TestCloseDrains(t *testing.T) {
	cfg := testConfig(t)
	c := logtest.Open(t, cfg)
	topic := logtest.NewTopic(t, c, 1)
	p := c.NewProducer(log.ProducerConfig{})
	ctx := logtest.Context(t)
	var last log.Ack
	for _, v := range logtest.Numbered("v", 2000) {
		var err error
		if last, err = p.Send(ctx, topic, 0, []byte(v)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := last.Wait(ctx); err != nil {
		t.Error(err)
	}
	if n := len(logtest.ReadAll(t, cfg, topic, 0)); n != 2000 {
		t.Errorf("%d records are there, want 2000", n)
	}
}
