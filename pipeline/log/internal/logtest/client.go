package logtest

// Clients of pipeline/log that end with their test.

import (
	"cmp"
	"context"
	"sync"
	"testing"
	"time"

	"countersign/pipeline/log"
)

// Open opens a client.
func Open(t testing.TB, cfg log.Config) *log.Client {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = Logger(t)
	}
	c, err := log.Open(Context(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// NewTopic makes a topic with a name of its own, which keeps records for an hour.
func NewTopic(t testing.TB, c *log.Client, partitions int) string {
	t.Helper()
	spec := log.TopicSpec{Name: UniqueName("topic"), Partitions: partitions, Replication: 1, Retention: time.Hour}
	n, err := c.EnsureTopic(Context(t), spec)
	if err != nil || n != partitions {
		t.Fatalf("create topic: %d partitions, %v", n, err)
	}
	return spec.Name
}

// NewProducer makes a producer. Its Timeout is Limit unless cfg says otherwise.
func NewProducer(t testing.TB, c *log.Client, cfg log.ProducerConfig) *log.Producer {
	cfg.Timeout = cmp.Or(cfg.Timeout, Limit)
	p := c.NewProducer(cfg)
	t.Cleanup(func() { p.Close(Context(t)) })
	return p
}

// Send produces values to one partition, and fails the test unless all are acknowledged. It returns their offsets.
func Send(t testing.TB, p *log.Producer, topic string, partition int, values ...string) []int64 {
	t.Helper()
	ctx := Context(t)
	var acks []log.Ack
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

// Handler handles an assigned partition.
type Handler = func(ctx context.Context, p *log.Partition) error

// Consume joins a group until the returned function is called.
func Consume(t testing.TB, c *log.Client, group, topic string, handle Handler) (stop func()) {
	cfg := log.GroupConfig{Group: group, Topic: topic, Handle: handle}
	return Run(t, func(ctx context.Context) error { return c.Consume(ctx, cfg) })
}

// OnPartition runs f as the handler of a topic's partition 0, once, and returns when f has.
func OnPartition(t testing.TB, c *log.Client, topic string, f func(ctx context.Context, p *log.Partition)) {
	t.Helper()
	done := make(chan struct{})
	var once sync.Once
	handle := func(ctx context.Context, p *log.Partition) error {
		if p.ID() == 0 {
			once.Do(func() {
				defer close(done)
				f(ctx, p)
			})
		}
		<-ctx.Done()
		return nil
	}
	stop := Consume(t, c, UniqueName("group"), topic, handle)
	Receive(t, done, "end of the handler")
	stop()
}
