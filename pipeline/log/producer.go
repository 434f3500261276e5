package log

// The producer. For each partition of a topic, one goroutine (sender.go) sends everything that is queued as one
// record batch, waits for the answer, and then sends what has been queued since. So batches grow with the load, and
// nothing waits for a linger. With one request in flight for each partition, a retry can't overtake a later batch:
// order is kept.
//
// Rejected:
//   - kafka-go's Writer: a linger, no offsets without a callback, and retries of its own, which hide whether a record
//     may be stored.
//   - Several requests in flight: they need the idempotent producer, which kafka-go lacks.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// MaxValueBytes is the largest value that Send accepts: with its framing it fits a batch, and a stock broker's 1
	// MiB.
	MaxValueBytes = maxBatchBytes - batchOverhead - recordOverhead

	maxBatchBytes  = 950 << 10
	batchOverhead  = 61 // record batch header, KIP-98
	recordOverhead = 32 // upper bound for one record's varints
)

// ProducerConfig bounds a producer.
type ProducerConfig struct {
	// MaxQueuedBytes is how many bytes may wait for acknowledgement, all partitions together. Past that Send waits.
	// 0: 64 MiB.
	MaxQueuedBytes int64
	// Timeout is how long a record may stay unacknowledged before it fails. 0: 30 s.
	Timeout time.Duration
	// Room returns nil while the embedded broker's disk has room: (*embedded.Broker).Room. A record that the broker
	// refuses while there is none is not tried again: it fails with ErrFull, and is not stored. nil: it is tried until
	// its time is up, like any other.
	Room func() error
}

func (c ProducerConfig) withDefaults() ProducerConfig {
	if c.MaxQueuedBytes <= 0 {
		c.MaxQueuedBytes = 64 << 20
	}
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	return c
}

// Producer sends records with acks=all. It is safe for concurrent use.
type Producer struct {
	c      *Client
	cfg    ProducerConfig
	queued *semaphore.Weighted // bytes between Send and acknowledgement
	ctx    context.Context     // ends when Close gives up on what is queued
	cancel context.CancelFunc
	wg     sync.WaitGroup // the senders

	mu      sync.Mutex
	senders map[topicPartition]*sender // guarded by mu
	closing chan struct{}              // closed, under mu, by Close: nothing is queued from then on
}

type topicPartition struct {
	topic     string
	partition int
}

// NewProducer starts a producer. Close it before its client.
func (c *Client) NewProducer(cfg ProducerConfig) *Producer {
	cfg = cfg.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	return &Producer{
		c: c, cfg: cfg, queued: semaphore.NewWeighted(cfg.MaxQueuedBytes), ctx: ctx, cancel: cancel,
		senders: map[topicPartition]*sender{}, closing: make(chan struct{}),
	}
}

// Ack stands for one record that was sent. It is an interface so that the stages' tests can send to a log of their own.
type Ack interface {
	// Wait returns the record's offset once all in-sync replicas have it, or why they haven't: a *ProduceError. If
	// ctx ends first the record's fate is open: the producer goes on sending it, and MayBeStored of the error is
	// true. Wait may be called any number of times, by several goroutines.
	Wait(ctx context.Context) (offset int64, err error)
}

// sentRecord is a record from Send to its acknowledgement, and the Ack for it.
type sentRecord struct {
	value    []byte    // owned by the sender; nil after done
	stamp    time.Time // the time that the record carries
	deadline time.Time // when the record fails
	stored   bool      // an attempt's outcome is unknown; owned by the sender
	done     chan struct{}
	offset   int64 // valid after done
	err      error // valid after done
}

func (r *sentRecord) Wait(ctx context.Context) (offset int64, err error) {
	select {
	case <-r.done:
		return r.offset, r.err
	default:
	}
	select {
	case <-r.done:
		return r.offset, r.err
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for a record's acknowledgement: %w", ctx.Err())
	}
}

// Send queues value as one record and returns. It waits only while the queue is full. value belongs to the producer
// until Wait has returned the record's outcome, and must not be changed before. A failed Send has stored nothing: its
// error is a *ProduceError, and MayBeStored of it is false.
func (p *Producer) Send(ctx context.Context, topic string, partition int, value []byte) (Ack, error) {
	topic = p.c.onBroker(topic)
	size := queueSize(value)
	if len(value) > MaxValueBytes || size > p.cfg.MaxQueuedBytes {
		err := fmt.Errorf("%w: %d bytes, at most %d are possible",
			ErrTooLarge, len(value), min(MaxValueBytes, p.cfg.MaxQueuedBytes-recordOverhead))
		return nil, &ProduceError{Topic: topic, Partition: partition, Err: err}
	}
	if err := p.queued.Acquire(ctx, size); err != nil {
		err = fmt.Errorf("wait for room in the queue of %d bytes: %w", p.cfg.MaxQueuedBytes, err)
		return nil, &ProduceError{Topic: topic, Partition: partition, Err: err}
	}
	r := &sentRecord{
		value: value, stamp: p.c.cfg.Clock(), deadline: time.Now().Add(p.cfg.Timeout), done: make(chan struct{}),
	}
	if err := p.enqueue(topicPartition{topic, partition}, r); err != nil {
		p.queued.Release(size)
		return nil, &ProduceError{Topic: topic, Partition: partition, Err: err}
	}
	return r, nil
}

func queueSize(value []byte) int64 { return int64(len(value) + recordOverhead) }

// enqueue gives a record to the partition's sender, which it starts when needed.
func (p *Producer) enqueue(tp topicPartition, r *sentRecord) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosing() {
		return fmt.Errorf("producer: %w", ErrClosed)
	}
	s := p.senders[tp]
	if s == nil {
		s = newSender(p, tp)
		p.senders[tp] = s
		p.wg.Go(s.run)
	}
	s.queue.Put(r)
	return nil
}

func (p *Producer) isClosing() bool {
	select {
	case <-p.closing:
		return true
	default:
		return false
	}
}

// Flush is a durability barrier: when it returns nil, every record acknowledged before the call is on the embedded
// broker's disk. For a cluster it does nothing: replication is a cluster's promise.
func (p *Producer) Flush(ctx context.Context) error {
	if p.c.cfg.Flush == nil {
		return nil
	}
	if err := p.c.cfg.Flush(ctx); err != nil {
		return fmt.Errorf("flush the embedded broker's log: %w", err)
	}
	return nil
}

// Close refuses new records, waits until those queued are acknowledged or have failed, and stops. When ctx ends it
// stops waiting: what is still queued then fails. Close may be called more than once.
func (p *Producer) Close(ctx context.Context) error {
	p.mu.Lock()
	if !p.isClosing() {
		close(p.closing)
	}
	p.mu.Unlock()
	drained := make(chan struct{})
	go func() {
		p.wg.Wait()
		close(drained)
	}()
	defer p.cancel()
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		p.cancel()
		<-drained
		return fmt.Errorf("close producer before all records were acknowledged: %w", ctx.Err())
	}
}

var errStopped = errors.New("producer closed before the record was acknowledged")
