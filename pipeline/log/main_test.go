package log

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
)

// The tests run against an embedded broker each, or, where KAFKA_BROKERS (host:port,...) says so, against that Kafka
// (scripts/kafka.sh starts one). Those of the embedded broker itself, and those that stop a broker, always use one of their own.

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirVariable); dir != "" {
		crashChild(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// testLog prints what the code logs only where the test fails.
func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// within is a context for the test that ends before the test binary's patience does.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// startEmbedded starts a broker that ends with the test.
func startEmbedded(t testing.TB, dir string) *Embedded {
	t.Helper()
	e, err := StartEmbedded(within(t, 20*time.Second), EmbeddedConfig{Dir: dir, Logger: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close the broker: %v", err)
		}
	})
	return e
}

// connect opens a client that ends with the test.
func connect(t testing.TB, cfg Config) *Client {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = testLog(t)
	}
	c, err := Open(within(t, 20*time.Second), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// realKafka says where Apache Kafka is, if the tests are to use it.
func realKafka() []string {
	if v := os.Getenv("KAFKA_BROKERS"); v != "" {
		return strings.Split(v, ",")
	}
	return nil
}

// testConfig reaches the broker under test.
func testConfig(t testing.TB) Config {
	if brokers := realKafka(); brokers != nil {
		return Config{Brokers: brokers}
	}
	e := startEmbedded(t, t.TempDir())
	return Config{Brokers: e.Brokers(), Flush: e.Flush}
}

// newTopic makes a topic with a name of its own.
func newTopic(t testing.TB, c *Client, partitions int) string {
	t.Helper()
	name := uniqueName("topic")
	n, err := c.EnsureTopic(within(t, 20*time.Second), TopicSpec{Name: name, Partitions: partitions, Replication: 1, Retention: time.Hour})
	if err != nil || n != partitions {
		t.Fatalf("create topic: %d partitions, %v", n, err)
	}
	return name
}

func uniqueName(kind string) string {
	var b [6]byte
	rand.Read(b[:])
	return kind + "-" + hex.EncodeToString(b[:])
}

// newProducer makes a producer that ends with the test.
func newProducer(t testing.TB, c *Client, cfg ProducerConfig) *Producer {
	p := c.NewProducer(cfg)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		p.Close(ctx)
	})
	return p
}

// send produces values to one partition, and fails the test unless all are acknowledged. It returns their offsets.
func send(t testing.TB, p *Producer, topic string, partition int, values ...string) []int64 {
	t.Helper()
	ctx := within(t, 20*time.Second)
	var acks []*Ack
	for _, v := range values {
		a, err := p.Send(ctx, topic, partition, []byte(v))
		if err != nil {
			t.Fatal(err)
		}
		acks = append(acks, a)
	}
	var offsets []int64
	for _, a := range acks {
		offset, err := a.Wait(ctx)
		if err != nil {
			t.Fatal(err)
		}
		offsets = append(offsets, offset)
	}
	return offsets
}

// readAll reads a partition from its first record to its end.
func readAll(t testing.TB, c *Client, topic string, partition int) []Message {
	t.Helper()
	ctx := within(t, 20*time.Second)
	r := &reader{c: c, topicPartition: topicPartition{topic, partition}}
	defer r.disconnect()
	held, err := r.bounds(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var all []Message
	for r.next = held.first; r.next < held.end; {
		msgs, err := r.fetchSome(ctx)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, msgs...)
	}
	return all
}

// numbered returns n values that say where they belong.
func numbered(prefix string, n int) []string {
	values := make([]string, n)
	for i := range values {
		values[i] = fmt.Sprintf("%s-%06d", prefix, i)
	}
	return values
}

// start runs f on a goroutine and returns a function that cancels its context and waits for it.
func start(t testing.TB, f func(ctx context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("it doesn't stop")
		}
	}
	t.Cleanup(stop)
	return stop
}

// discard is for tests whose warnings are expected, and for what may log after its test.
var discard = slog.New(slog.DiscardHandler)

// commitOutside commits for a group that has no members.
func commitOutside(ctx context.Context, c *Client, group, topic string, offsets []kafka.OffsetCommit) error {
	res, err := c.admin.OffsetCommit(ctx, &kafka.OffsetCommitRequest{
		GroupID: group, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{topic: offsets},
	})
	if err != nil {
		return err
	}
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			return p.Error
		}
	}
	return nil
}

// deleteBelow deletes records of partition 0, as retention would. kafka-go can't ask for it.
func deleteBelow(t testing.TB, c *Client, topic string, offset int64) {
	t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	rt, rp := kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	rt.Topic, rp.Offset = topic, offset
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := ask[*kmsg.DeleteRecordsResponse](within(t, time.Minute), admin{address: c.cfg.Brokers[0]}, req, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
}
