package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Many goroutines send to the same partitions: each one's records stay in its order, every offset given is where the record is,
// and nothing is there that wasn't sent.
func TestOrderAndOffsets(t *testing.T) {
	c := connect(t, testConfig(t))
	const partitions, senders, each = 3, 8, 300
	topic := newTopic(t, c, partitions)
	p := newProducer(t, c, ProducerConfig{})
	var mu sync.Mutex
	want := map[string]int64{} // partition and value: offset
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for part := range partitions {
				values := numbered(fmt.Sprint(s), each)
				for i, offset := range send(t, p, topic, part, values...) {
					mu.Lock()
					want[fmt.Sprint(part, " ", values[i])] = offset
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for part := range partitions {
		msgs := readAll(t, c, topic, part)
		if len(msgs) != senders*each {
			t.Fatalf("partition %d has %d records, want %d", part, len(msgs), senders*each)
		}
		last := map[string]string{}
		for i, m := range msgs {
			v := string(m.Value)
			if m.Offset != want[fmt.Sprint(part, " ", v)] || m.Offset != int64(i) || m.Topic != topic || m.Partition != part {
				t.Fatalf("record %d of partition %d is %s at offset %d, acknowledged at %d", i, part, v, m.Offset, want[fmt.Sprint(part, " ", v)])
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
	c := connect(t, testConfig(t))
	topic := newTopic(t, c, 1)
	p := newProducer(t, c, ProducerConfig{})
	for _, tc := range []struct{ size, queued, want int }{
		{100, 1000, 1000},
		{100_000, 30, 9},
		{MaxValueBytes, 3, 1},
		{0, 5, 5},
	} {
		var queue []*Ack
		for range tc.queued {
			queue = append(queue, &Ack{value: make([]byte, tc.size)})
		}
		idle := &sender{queue: queue}
		batch, open := idle.take(nil)
		if len(batch) != tc.want || len(idle.queue) != tc.queued-tc.want || !open {
			t.Errorf("of %d records of %d bytes %d go together, want %d", tc.queued, tc.size, len(batch), tc.want)
		}
	}
	large := bytes.Repeat([]byte{7}, MaxValueBytes)
	ctx := within(t, 20*time.Second)
	var acks []*Ack
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
	for _, m := range readAll(t, c, topic, 0) {
		if !bytes.Equal(m.Value, large) {
			t.Fatal("a large record came back changed")
		}
	}
}

func TestRecordTime(t *testing.T) {
	cfg := testConfig(t)
	at := time.Date(2026, 3, 4, 5, 6, 7, 8e6, time.UTC)
	cfg.Now = func() time.Time { return at }
	c := connect(t, cfg)
	topic := newTopic(t, c, 1)
	send(t, newProducer(t, c, ProducerConfig{}), topic, 0, "x")
	if m := readAll(t, c, topic, 0)[0]; !m.Time.Equal(at) {
		t.Errorf("the record's time is %v, want the client's %v", m.Time, at)
	}
}

func TestSendRefusals(t *testing.T) {
	c := connect(t, testConfig(t))
	topic := newTopic(t, c, 1)
	p := c.NewProducer(ProducerConfig{MaxQueuedBytes: 4 << 20})
	ctx := within(t, 20*time.Second)
	_, err := p.Send(ctx, topic, 0, make([]byte, MaxValueBytes+1))
	if !errors.Is(err, ErrTooLarge) || MayBeStored(err) {
		t.Errorf("too large a record: %v", err)
	}
	if err := p.Close(ctx); err != nil {
		t.Fatal(err)
	}
	_, err = p.Send(ctx, topic, 0, []byte("x"))
	if !errors.Is(err, ErrClosed) || MayBeStored(err) {
		t.Errorf("send after close: %v", err)
	}
}

// A full queue makes Send wait, and the wait ends with the context.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	c := connect(t, testConfig(t))
	topic := newTopic(t, c, 1)
	deaf := deafBroker(t)
	away := &Client{cfg: Config{Brokers: []string{deaf}}, log: c.log, now: time.Now, conns: map[*conn]struct{}{}}
	p := away.NewProducer(ProducerConfig{MaxQueuedBytes: 1000, Timeout: time.Second})
	ctx := within(t, 20*time.Second)
	first, err := p.Send(ctx, topic, 0, make([]byte, 900))
	if err != nil {
		t.Fatal(err)
	}
	brief, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := p.Send(brief, topic, 0, make([]byte, 900)); !errors.Is(err, context.DeadlineExceeded) || MayBeStored(err) {
		t.Errorf("send to a full queue: %v", err)
	}
	if _, err := first.Wait(ctx); err == nil {
		t.Error("acknowledged by a broker that says nothing")
	}
	if _, err := p.Send(ctx, topic, 0, make([]byte, 900)); err != nil {
		t.Errorf("no room after the first record ended: %v", err)
	}
	p.Close(ctx)
	away.Close()
}

// deafBroker accepts connections and never answers.
func deafBroker(t *testing.T) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, nc)
			mu.Unlock()
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
		for _, nc := range open {
			nc.Close()
		}
	})
	return l.Addr().String()
}

// A broker that went away: records fail after the timeout, as unavailable, and the error says truly whether they can be stored.
// When it is back, on the same data, records go through and the earlier ones are there.
func TestBrokerStoppedAndBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx := within(t, 50*time.Second)
	e := startEmbedded(t, dir)
	c := connect(t, Config{Brokers: e.Brokers()})
	topic := newTopic(t, c, 2)
	p := newProducer(t, c, ProducerConfig{Timeout: 700 * time.Millisecond})
	send(t, p, topic, 0, "before")
	idle := p.senders[topicPartition{p.c.onBroker(topic), 0}].conn // its sender rests until the next record
	e.Close()
	for deadline := time.Now().Add(10 * time.Second); !idle.hungUp(); time.Sleep(time.Millisecond) { // kfake closes sockets a little later
		if time.Now().After(deadline) {
			t.Fatal("the stopped broker keeps its connections")
		}
	}
	for partition, state := range []string{"an idle connection", "no connection"} {
		a, err := p.Send(ctx, topic, partition, []byte("lost"))
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		_, err = a.Wait(ctx)
		if !errors.Is(err, ErrUnavailable) || MayBeStored(err) {
			t.Errorf("with %s: %v", state, err)
		}
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("with %s it failed after %v", state, took)
		}
	}
	waiting := newProducer(t, c, ProducerConfig{})
	a, err := waiting.Send(ctx, topic, 0, []byte("after"))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	back, err := StartEmbedded(ctx, EmbeddedConfig{Dir: dir, Logger: testLog(t), address: e.Brokers()[0]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { back.Close() })
	if offset, err := a.Wait(ctx); err != nil || offset != 1 {
		t.Errorf("a record that waited for the broker has offset %d, want 1 (%v)", offset, err)
	}
}

// A broker that takes the request and doesn't answer leaves the record's fate open.
func TestUnansweredMayBeStored(t *testing.T) {
	t.Parallel()
	e := startEmbedded(t, t.TempDir())
	c := connect(t, Config{Brokers: e.Brokers()})
	topic := newTopic(t, c, 1)
	p := newProducer(t, c, ProducerConfig{Timeout: 500 * time.Millisecond})
	send(t, p, topic, 0, "first")
	release := make(chan struct{})
	e.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		<-release
		return nil, nil, false
	})
	ctx := within(t, 20*time.Second)
	a, err := p.Send(ctx, topic, 0, []byte("second"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Wait(ctx)
	close(release)
	if !errors.Is(err, ErrUnavailable) || !MayBeStored(err) {
		t.Errorf("an unanswered record: %v", err)
	}
}

func TestMayBeStored(t *testing.T) {
	cut, cancel := context.WithCancel(context.Background())
	cancel()
	_, waitErr := (&Ack{done: make(chan struct{})}).Wait(cut)
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{waitErr, true},
		{errors.New("whatever"), true},
		{&ProduceError{Stored: true, Err: kafka.RequestTimedOut}, true},
		{fmt.Errorf("upload: %w", &ProduceError{Err: kafka.MessageSizeTooLarge}), false},
	} {
		if got := MayBeStored(tc.err); got != tc.want {
			t.Errorf("MayBeStored(%v) = %v", tc.err, got)
		}
	}
	for err, want := range map[error]bool{
		kafka.NotLeaderForPartition: true, kafka.NotEnoughReplicas: true, kafka.MessageSizeTooLarge: true, kafka.TopicAuthorizationFailed: true,
		kafka.NotEnoughReplicasAfterAppend: false, kafka.RequestTimedOut: false, kafka.Unknown: false, net.ErrClosed: false,
	} {
		if got := definite(err); got != want {
			t.Errorf("definite(%v) = %v", err, got)
		}
	}
	for err, want := range map[error]bool{
		kafka.NotLeaderForPartition: true, kafka.NotEnoughReplicas: true, kafka.NotEnoughReplicasAfterAppend: true, kafka.Unknown: true,
		net.ErrClosed: true, context.DeadlineExceeded: true, kafka.MessageSizeTooLarge: false, kafka.TopicAuthorizationFailed: false,
	} {
		if got := retriable(err); got != want {
			t.Errorf("retriable(%v) = %v", err, got)
		}
	}
}

// Close waits for what is queued.
func TestCloseDrains(t *testing.T) {
	c := connect(t, testConfig(t))
	topic := newTopic(t, c, 1)
	p := c.NewProducer(ProducerConfig{})
	ctx := within(t, 20*time.Second)
	var last *Ack
	for _, v := range numbered("v", 2000) {
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
	if n := len(readAll(t, c, topic, 0)); n != 2000 {
		t.Errorf("%d records are there, want 2000", n)
	}
}
