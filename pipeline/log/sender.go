package log

// A partition's records on their way to its leader: batch by batch, each until it is acknowledged, refused or out of
// time.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"countersign/internal/pause"
	"countersign/internal/queue"
)

// attemptTimeout is how long one produce request waits for its answer before the connection is given up and the request
// repeated on a new one.
const attemptTimeout = 10 * time.Second

// sender sends one partition's records, in the order of Send, one request at a time. Its other fields than the queue
// are owned by the goroutine that runs it.
type sender struct {
	topicPartition
	p     *Producer
	queue *queue.Queue[*sentRecord] // bounded by Producer.queued

	conn *leaderConn     // nil: not connected
	msgs []kafka.Message // of the request in flight
}

func newSender(p *Producer, tp topicPartition) *sender {
	return &sender{topicPartition: tp, p: p, queue: queue.New[*sentRecord]()}
}

// run ends when the producer is closing and the queue is empty.
func (s *sender) run() {
	defer s.disconnect()
	var batch []*sentRecord
	for closing := false; ; {
		if batch = s.nextBatch(batch[:0]); len(batch) > 0 {
			s.deliver(batch)
			clear(batch)
			continue
		}
		if closing {
			return
		}
		select {
		case <-s.queue.Ready():
		case <-s.p.closing:
			closing = true // nothing is queued from here on
		}
	}
}

// nextBatch moves the longest prefix of the queue that fits a batch into dst.
func (s *sender) nextBatch(dst []*sentRecord) []*sentRecord {
	size := batchOverhead
	return s.queue.TakeWhile(dst, func(r *sentRecord) bool {
		size += len(r.value) + recordOverhead
		return size <= maxBatchBytes
	})
}

// deliver brings every record of the batch to its end: acknowledged, refused, or out of time.
func (s *sender) deliver(batch []*sentRecord) {
	var last error
	for attempt := 0; len(batch) > 0; attempt++ {
		if attempt > 0 && s.pauseBefore(batch[0].deadline, retryPause(attempt-1)) != nil {
			s.fail(batch, fmt.Errorf("%w: %w", errStopped, last))
			return
		}
		if batch = s.expire(batch, last); len(batch) == 0 {
			return
		}
		base, err := s.attempt(batch)
		if err == nil {
			s.succeed(batch, base)
			return
		}
		if s.p.ctx.Err() == nil && (!retriable(err) || errors.Is(err, ErrFull)) {
			s.fail(batch, err)
			return
		}
		if broken := s.p.c.cfg.Broken(); broken != nil {
			s.fail(batch, fmt.Errorf("%w: %w", ErrUnavailable, broken))
			return
		}
		last = markUnavailable(err)
		s.p.c.logger.Debug("produce attempt failed", "topic", s.topic, "partition", s.partition,
			"records", len(batch), "attempt", attempt+1, "error", err)
	}
}

// pauseBefore waits for d, but not past the deadline. An error says that the producer is not to go on.
func (s *sender) pauseBefore(deadline time.Time, d time.Duration) error {
	return pause.For(s.p.ctx, min(d, time.Until(deadline)))
}

// attempt sends the batch once. Records whose fate it leaves open are marked.
func (s *sender) attempt(batch []*sentRecord) (base int64, err error) {
	ctx, cancel := context.WithDeadline(s.p.ctx, batch[0].deadline)
	defer cancel()
	if err := s.connect(ctx); err != nil {
		return 0, err // nothing was written
	}
	s.msgs = s.msgs[:0]
	for _, r := range batch {
		s.msgs = append(s.msgs, kafka.Message{Value: r.value, Time: r.stamp})
	}
	defer clear(s.msgs)
	limit := time.Now().Add(attemptTimeout)
	if batch[0].deadline.Before(limit) {
		limit = batch[0].deadline
	}
	if err := s.conn.SetDeadline(limit); err != nil {
		s.disconnect()
		return 0, err
	}
	release := s.conn.guard(s.p.ctx)
	_, _, base, _, err = s.conn.WriteCompressedMessagesAt(nil, s.msgs...)
	release()
	if err == nil {
		return base, nil
	}
	if err = s.refusedForRoom(err); !definite(err) {
		for _, r := range batch {
			r.stored = true
		}
	}
	s.disconnect() // the leader may have moved: look it up again
	return 0, err
}

// refusedForRoom adds ErrFull to the embedded broker's answer to a record that it could not write.
func (s *sender) refusedForRoom(err error) error {
	if s.p.cfg.Room == nil || !errors.Is(err, kafka.Unknown) {
		return err
	}
	if full := s.p.cfg.Room(); full != nil {
		return fmt.Errorf("%w: %w", ErrFull, full)
	}
	return err
}

// connect makes sure that there is a connection whose peer hasn't hung up, so that a broker that went away while
// nothing was sent doesn't leave the next record's fate open.
func (s *sender) connect(ctx context.Context) error {
	if s.conn != nil && s.conn.hungUp() {
		s.disconnect()
	}
	if s.conn != nil {
		return nil
	}
	conn, err := s.p.c.dialLeader(ctx, s.topic, s.partition)
	s.conn = conn
	return err
}

func (s *sender) disconnect() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// expire fails the records whose time is up, and returns the others.
func (s *sender) expire(batch []*sentRecord, last error) []*sentRecord {
	now, n := time.Now(), 0
	for n < len(batch) && !batch[n].deadline.After(now) {
		n++
	}
	if n > 0 {
		if last == nil {
			last = ErrUnavailable // it waited behind records that could not be sent
		}
		s.fail(batch[:n], fmt.Errorf("not acknowledged within %s: %w", s.p.cfg.Timeout, last))
	}
	return batch[n:]
}

func (s *sender) succeed(batch []*sentRecord, base int64) {
	for i, r := range batch {
		r.offset = base + int64(i)
		s.finish(r)
	}
}

func (s *sender) fail(batch []*sentRecord, err error) {
	for _, r := range batch {
		r.err = &ProduceError{Topic: s.topic, Partition: s.partition, Stored: r.stored, Err: err}
		s.finish(r)
	}
}

func (s *sender) finish(r *sentRecord) {
	size := queueSize(r.value)
	r.value = nil
	close(r.done)
	s.p.queued.Release(size)
}
