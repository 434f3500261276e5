package ingest

// The Log of a running process: topics on Kafka.

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// KafkaLog returns the Log that p writes and c reads. Both must outlive the server, which follows events once at a
// time.
func KafkaLog(c *log.Client, p *log.Producer) Log {
	return &kafkaLog{client: c, producer: p}
}

type kafkaLog struct {
	client   *log.Client
	producer *log.Producer
	tail     atomic.Pointer[log.Tail] // of topic events; nil: it isn't followed
}

func (l *kafkaLog) Send(ctx context.Context, partition int, value []byte) (Ack, error) {
	return l.producer.Send(ctx, record.TopicUploads, partition, value)
}

func (l *kafkaLog) Flush(ctx context.Context) error { return l.producer.Flush(ctx) }

func (l *kafkaLog) MayBeStored(err error) bool { return log.MayBeStored(err) }

func (l *kafkaLog) Full(err error) bool { return errors.Is(err, log.ErrFull) }

func (l *kafkaLog) Tell(ctx context.Context, value []byte) error {
	ack, err := l.producer.Send(ctx, record.TopicEvents, 0, value)
	if err == nil {
		_, err = ack.Wait(ctx)
	}
	return err
}

func (l *kafkaLog) Follow(ctx context.Context, ready func(), fn func(value []byte)) error {
	tail, err := l.client.OpenTail(ctx, record.TopicEvents)
	if err != nil {
		return err
	}
	l.tail.Store(tail)
	defer l.tail.Store(nil)
	ready()
	return tail.Run(ctx, func(m log.Message) error {
		fn(m.Value)
		return nil
	})
}

var errNotFollowed = errors.New("topic events is not followed yet: is Kafka there?")

func (l *kafkaLog) Followed() error {
	tail := l.tail.Load()
	if tail == nil {
		return errNotFollowed
	}
	return tail.Check()
}

func (l *kafkaLog) CaughtUp(ctx context.Context) error {
	tail := l.tail.Load()
	if tail == nil {
		return errNotFollowed
	}
	if err := tail.Check(); err != nil { // for some seconds already: don't let callers wait again and again
		return err
	}
	return tail.CaughtUp(ctx)
}

// Settled appends a mark to each partition of topic uploads, and waits until verify has passed the marks, and the sinks
// what verify has written until then. The mark's acknowledgement is what makes this certain. A partition that lost
// in-sync replicas may hold a seal that nobody can see yet and that may be confirmed later; but what is acknowledged
// after it confirms or rules out everything before it. So the end of the partition, as brokers tell it, would not do.
func (l *kafkaLog) Settled(ctx context.Context) error {
	sealed, err := l.mark(ctx)
	if err != nil {
		return err
	}
	if err := l.client.AwaitCommitted(ctx, record.GroupVerify, record.TopicUploads, sealed); err != nil {
		return err
	}
	decided, err := l.client.Ends(ctx, record.TopicVerified)
	if err != nil {
		return err
	}
	return l.client.AwaitCommitted(ctx, record.GroupSink, record.TopicVerified, decided)
}

// markAgain is how long a mark may take. One that took longer may have waited for a broker that came back just now, and
// that has older requests to work off: those need another mark after them.
const markAgain = time.Second

// mark returns an offset for each partition of topic uploads: every seal that was written before the call is below, or
// will never be in the log.
func (l *kafkaLog) mark(ctx context.Context) ([]int64, error) {
	for {
		begun := time.Now()
		ends, err := l.markOnce(ctx)
		if err != nil || time.Since(begun) < markAgain {
			return ends, err
		}
	}
}

func (l *kafkaLog) markOnce(ctx context.Context) ([]int64, error) {
	ends, err := l.client.Ends(ctx, record.TopicUploads)
	if err != nil {
		return nil, err
	}
	// The end of an attempt that never was: verify passes over it.
	attempt := uuid.New()
	value := record.Encode(&recordpb.Upload{Kind: &recordpb.Upload_Abort{Abort: &recordpb.Abort{
		Attempt: attempt[:], Reason: "a mark: is everything before it stored?",
	}}})
	acks := make([]Ack, len(ends))
	for p := range ends {
		if acks[p], err = l.Send(ctx, p, value); err != nil {
			return nil, fmt.Errorf("mark partition %d of topic uploads: %w", p, err)
		}
	}
	for p, ack := range acks {
		offset, err := ack.Wait(ctx)
		if err != nil {
			return nil, fmt.Errorf("mark partition %d of topic uploads: %w", p, err)
		}
		ends[p] = offset + 1
	}
	return ends, nil
}

// Backlog is what verify has not decided and the sink has not stored.
func (l *kafkaLog) Backlog(ctx context.Context) (int64, error) {
	toVerify, err := l.client.Lag(ctx, record.GroupVerify, record.TopicUploads)
	if err != nil {
		return 0, err
	}
	toStore, err := l.client.Lag(ctx, record.GroupSink, record.TopicVerified)
	return toVerify + toStore, err
}
