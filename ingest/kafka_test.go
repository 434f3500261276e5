package ingest

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"countersign/pipeline/log"
	"countersign/pipeline/log/embedded"
	"countersign/pipeline/record"
)

func TestKafkaLog(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	logger := slog.New(slog.DiscardHandler)
	broker, err := embedded.Start(ctx, embedded.Config{Dir: t.TempDir(), Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	client, err := log.Open(ctx, log.Config{Brokers: broker.Brokers(), Dial: broker.Dial, Flush: broker.Flush, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, topic := range []string{record.TopicUploads, record.TopicVerified, record.TopicEvents} {
		if _, err := client.EnsureTopic(ctx, log.TopicSpec{Name: topic, Partitions: 2}); err != nil {
			t.Fatal(err)
		}
	}
	producer := client.NewProducer(log.ProducerConfig{})
	defer producer.Close(ctx)
	topics := KafkaLog(client, producer)

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
	if _, err := producer.Send(ctx, record.TopicEvents, 0, []byte("an event")); err != nil {
		t.Fatal(err)
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
