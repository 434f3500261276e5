package log

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// The producer. One goroutine a (topic, partition) sends everything queued for it as one record batch, waits for the answer, and
// takes what has queued up since: batches grow with the load and nothing waits for a linger. With one request in flight a
// partition, a retry can't overtake a later batch, so order is kept.
//
// Rejected: kafka-go's Writer (a linger, no offsets without a callback, its own retries that hide whether a record may be
// stored), and several requests in flight (needs the idempotent producer, which kafka-go lacks).

const (
	// MaxValueBytes is the largest value Send takes: with its framing it fits a batch, and a stock broker's 1 MiB.
	MaxValueBytes = maxBatchBytes - batchOverhead - recordOverhead

	maxBatchBytes  = 950 << 10
	batchOverhead  = 61 // record batch header, KIP-98
	recordOverhead = 32 // upper bound for one record's varints
)

// ProducerConfig bounds a producer.
type ProducerConfig struct {
	// MaxQueuedBytes is how much may wait for acknowledgement, all partitions together; past it Send blocks. 0: 64 MiB.
	MaxQueuedBytes int64
	// Timeout is how long a record may stay unacknowledged before it fails. 0: 30 s.
	Timeout time.Duration
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
	closed  bool                       // guarded by mu
}

type topicPartition struct {
	topic     string
	partition int
}

// NewProducer starts a producer. Close it before its client.
func (c *Client) NewProducer(cfg ProducerConfig) *Producer {
	if cfg.MaxQueuedBytes <= 0 {
		cfg.MaxQueuedBytes = 64 << 20
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Producer{
		c: c, cfg: cfg, queued: semaphore.NewWeighted(cfg.MaxQueuedBytes), ctx: ctx, cancel: cancel,
		senders: map[topicPartition]*sender{},
	}
}

// Ack is the outcome of one Send.
type Ack struct {
	value    []byte
	stamp    time.Time // what the record carries
	deadline time.Time // when it fails
	stored   bool      // an attempt's outcome is unknown; owned by the sender
	done     chan struct{}
	offset   int64 // valid after done
	err      error // valid after done
}

// Done is closed when the record is acknowledged or has failed.
func (a *Ack) Done() <-chan struct{} { return a.done }

// Wait returns the record's offset once it is acknowledged by all in-sync replicas. If ctx ends first the record's fate is
// open: it goes on being sent, and MayBeStored of the error is true. Wait may be called any number of times.
func (a *Ack) Wait(ctx context.Context) (offset int64, err error) {
	select {
	case <-a.done:
		return a.offset, a.err
	default:
	}
	select {
	case <-a.done:
		return a.offset, a.err
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for a record's acknowledgement: %w", ctx.Err())
	}
}

// Send queues value as one record and returns. It waits only while the queue is full. value belongs to the producer until the
// Ack is done, and must not be changed before. A failed Send has stored nothing.
func (p *Producer) Send(ctx context.Context, topic string, partition int, value []byte) (*Ack, error) {
	topic = p.c.onBroker(topic)
	size := queueSize(value)
	if len(value) > MaxValueBytes || size > p.cfg.MaxQueuedBytes {
		return nil, &ProduceError{Topic: topic, Partition: partition, Err: fmt.Errorf("%w: %d bytes, at most %d are possible",
			ErrTooLarge, len(value), min(MaxValueBytes, p.cfg.MaxQueuedBytes-recordOverhead))}
	}
	if err := p.queued.Acquire(ctx, size); err != nil {
		return nil, &ProduceError{Topic: topic, Partition: partition, Err: fmt.Errorf("wait for room in the queue of %d bytes: %w", p.cfg.MaxQueuedBytes, err)}
	}
	a := &Ack{value: value, stamp: p.c.now(), deadline: time.Now().Add(p.cfg.Timeout), done: make(chan struct{})}
	s, err := p.sender(topicPartition{topic, partition})
	if err == nil {
		err = s.put(a)
	}
	if err != nil {
		p.queued.Release(size)
		return nil, &ProduceError{Topic: topic, Partition: partition, Err: err}
	}
	return a, nil
}

func queueSize(value []byte) int64 { return int64(len(value) + recordOverhead) }

// sender returns the partition's sender, starting it when needed.
func (p *Producer) sender(tp topicPartition) (*sender, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("producer: %w", ErrClosed)
	}
	s := p.senders[tp]
	if s == nil {
		s = &sender{p: p, topicPartition: tp, wake: make(chan struct{}, 1)}
		p.senders[tp] = s
		p.wg.Go(s.run)
	}
	return s, nil
}

// Flush is a durability barrier: when it returns nil, every record acknowledged before the call is on the embedded broker's disk.
// Concurrent calls share one round of fsync. For a cluster it does nothing: replication is its promise.
func (p *Producer) Flush(ctx context.Context) error {
	if p.c.cfg.Flush == nil {
		return nil
	}
	if err := p.c.cfg.Flush(ctx); err != nil {
		return fmt.Errorf("flush the embedded broker's log: %w", err)
	}
	return nil
}

// Close refuses new records, waits until those queued are acknowledged or have failed, and stops. When ctx ends it stops waiting:
// what is still queued then fails.
func (p *Producer) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	for _, s := range p.senders {
		s.close()
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
