package ingest

// The Log of a running process: topics on Kafka.

import (
	"context"

	"countersign/pipeline/log"
	"countersign/pipeline/record"
)

// KafkaLog returns the Log that p writes and c reads. Both must outlive the server.
func KafkaLog(c *log.Client, p *log.Producer) Log {
	return kafkaLog{c, p}
}

type kafkaLog struct {
	client   *log.Client
	producer *log.Producer
}

func (l kafkaLog) Send(ctx context.Context, partition int, value []byte) (Ack, error) {
	return l.producer.Send(ctx, record.TopicUploads, partition, value)
}

func (l kafkaLog) Flush(ctx context.Context) error { return l.producer.Flush(ctx) }

func (l kafkaLog) MayBeStored(err error) bool { return log.MayBeStored(err) }

func (l kafkaLog) Follow(ctx context.Context, ready func(), fn func(value []byte)) error {
	tail, err := l.client.OpenTail(ctx, record.TopicEvents)
	if err != nil {
		return err
	}
	ready()
	return tail.Run(ctx, func(m log.Message) error {
		fn(m.Value)
		return nil
	})
}

// Backlog is what verify has not decided and the sink has not stored.
func (l kafkaLog) Backlog(ctx context.Context) (int64, error) {
	toVerify, err := l.client.Lag(ctx, record.GroupVerify, record.TopicUploads)
	if err != nil {
		return 0, err
	}
	toStore, err := l.client.Lag(ctx, record.GroupSink, record.TopicVerified)
	return toVerify + toStore, err
}
