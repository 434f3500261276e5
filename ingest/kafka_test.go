package ingest

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"countersign/ingest/internal/ingesttest"
	"countersign/pipeline/log"
	"countersign/pipeline/log/embedded"
	"countersign/pipeline/record"
)

// openTopics opens an embedded log with ingest's topics, of two partitions each.
func openTopics(t *testing.T) (context.Context, *log.Client, *log.Producer, Log) {
	ctx, cancel := context.WithTimeout(t.Context(), ingesttest.MaxWait)
	t.Cleanup(cancel)
	logger := slog.New(slog.DiscardHandler)
	broker, err := embedded.Start(ctx, embedded.Config{Dir: t.TempDir(), Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { broker.Close() })
	client, err := log.Open(ctx, log.Config{
		Brokers: broker.Brokers(), Dial: broker.Dial, Flush: broker.Flush, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	for _, topic := range []string{record.TopicUploads, record.TopicVerified, record.TopicEvents} {
		if _, err := client.EnsureTopic(ctx, log.TopicSpec{Name: topic, Partitions: 2}); err != nil {
			t.Fatal(err)
		}
	}
	producer := client.NewProducer(log.ProducerConfig{})
	t.Cleanup(func() { producer.Close(context.Background()) })
	return ctx, client, producer, KafkaLog(client, producer)
}

// Settled waits until verify has passed what was in topic uploads, and then the sinks what is in topic verified.
func TestSettled(t *testing.T) {
	ctx, client, producer, topics := openTopics(t)
	ack, err := producer.Send(ctx, record.TopicVerified, 1, []byte("claims"))
	if err == nil {
		_, err = ack.Wait(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	var groups sync.WaitGroup
	running, stop := context.WithCancel(ctx)
	defer groups.Wait()
	defer stop()
	consume := func(group, topic string) {
		handle := func(ctx context.Context, p *log.Partition) error {
			for {
				messages, err := p.Fetch(ctx)
				if err != nil {
					return err
				}
				for _, m := range messages {
					p.Commit(m.Offset + 1)
				}
			}
		}
		groups.Go(func() {
			_ = client.Consume(running, log.GroupConfig{Group: group, Topic: topic, Handle: handle})
		})
	}
	short, cancel := context.WithCancel(ctx)
	unsettled := make(chan error, 1)
	go func() { unsettled <- topics.Settled(short) }()
	consume(record.GroupVerify, record.TopicUploads)
	ingesttest.Until(t, "verify has passed the marks", func() bool {
		ends, err := client.Ends(ctx, record.TopicUploads)
		lag, errLag := client.Lag(ctx, record.GroupVerify, record.TopicUploads)
		return errors.Join(err, errLag) == nil && ends[0] == 1 && ends[1] == 1 && lag == 0
	})
	select {
	case err := <-unsettled:
		t.Fatal("settled although the sinks have stored nothing:", err)
	default:
	}
	cancel()
	if err := <-unsettled; err == nil {
		t.Error("settled although the sinks have stored nothing")
	}
	consume(record.GroupSink, record.TopicVerified)
	if err := topics.Settled(ctx); err != nil {
		t.Error(err)
	}
}

func TestKafkaLog(t *testing.T) {
	ctx, _, _, topics := openTopics(t)
	if err := topics.Followed(); err == nil {
		t.Error("events are followed before anybody does")
	}
	if err := topics.CaughtUp(ctx); err == nil {
		t.Error("caught up with events that nobody follows")
	}
	for want := range int64(3) {
		ack, err := topics.Send(ctx, 1, []byte("an upload"))
		if err != nil {
			t.Fatal(err)
		}
		if offset, err := ack.Wait(ctx); err != nil || offset != want {
			t.Errorf("offset %d, want %d: %v", offset, want, err)
		}
	}
	if err := topics.Flush(ctx); err != nil {
		t.Error(err)
	}
	if n, err := topics.Backlog(ctx); err != nil || n != 3 {
		t.Errorf("backlog %d: %v", n, err)
	}

	follow, stop := context.WithCancel(ctx)
	ready, seen, ended := make(chan struct{}), make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- topics.Follow(follow, func() { close(ready) }, func(value []byte) { seen <- string(value) })
	}()
	<-ready
	if err := topics.Tell(ctx, []byte("an event")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(topics.CaughtUp(ctx), topics.Followed()); err != nil || len(seen) != 1 {
		t.Errorf("%d events seen, %v", len(seen), err)
	}
	if event := <-seen; event != "an event" {
		t.Errorf("followed %q", event)
	}
	stop()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}

	large := make([]byte, 2<<20)
	if ack, err := topics.Send(ctx, 0, large); err == nil || ack != nil || topics.MayBeStored(err) {
		t.Errorf("a record that is too large: %v, %v", ack, err)
	}
}
