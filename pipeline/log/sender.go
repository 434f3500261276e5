package log

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// attemptTimeout is how long one produce request waits for its answer before the connection is given up and the request
// repeated on a new one.
const attemptTimeout = 10 * time.Second

// sender sends one partition's records, in order, one request at a time.
type sender struct {
	topicPartition
	p    *Producer
	wake chan struct{} // capacity 1: something was queued, or the sender closed

	mu     sync.Mutex
	queue  []*Ack // in the order of Send; guarded by mu
	closed bool   // guarded by mu

	conn *leaderConn // owned by run
	msgs []kafka.Message
}

func (s *sender) put(a *Ack) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return fmt.Errorf("producer: %w", ErrClosed)
	}
	s.queue = append(s.queue, a)
	s.mu.Unlock()
	s.signal()
	return nil
}

func (s *sender) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.signal()
}

func (s *sender) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run ends when the sender is closed and its queue is empty.
func (s *sender) run() {
	defer func() { s.disconnect() }()
	var batch []*Ack
	for {
		var open bool
		if batch, open = s.take(batch[:0]); len(batch) > 0 {
			s.deliver(batch)
			clear(batch)
			continue
		}
		if !open {
			return
		}
		<-s.wake
	}
}

// take moves the longest prefix of the queue that fits a batch into dst.
func (s *sender) take(dst []*Ack) (batch []*Ack, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size, n := batchOverhead, 0
	for _, a := range s.queue {
		if size += len(a.value) + recordOverhead; n > 0 && size > maxBatchBytes {
			break
		}
		n++
	}
	dst = append(dst, s.queue[:n]...)
	rest := copy(s.queue, s.queue[n:])
	clear(s.queue[rest:])
	s.queue = s.queue[:rest]
	return dst, !s.closed
}

// deliver brings every record of the batch to its end: acknowledged, refused, or out of time.
func (s *sender) deliver(batch []*Ack) {
	var last error
	for attempt := 0; len(batch) > 0; attempt++ {
		if attempt > 0 && !s.pauseBefore(batch[0].deadline, backoff(attempt-1)) {
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
		if s.p.ctx.Err() == nil && !retriable(err) {
			s.fail(batch, err)
			return
		}
		last = unavailable(err)
		s.p.c.log.Debug("produce attempt failed", "topic", s.topic, "partition", s.partition, "records", len(batch), "attempt", attempt+1, "err", err)
	}
}

// pauseBefore waits d, but not past the first record's deadline, and reports whether to go on.
func (s *sender) pauseBefore(deadline time.Time, d time.Duration) bool {
	return pause(s.p.ctx, max(0, min(d, time.Until(deadline))))
}

// attempt sends the batch once. Records whose fate it leaves open are marked.
func (s *sender) attempt(batch []*Ack) (base int64, err error) {
	ctx, cancel := context.WithDeadline(s.p.ctx, batch[0].deadline)
	defer cancel()
	if err := s.connect(ctx); err != nil {
		return 0, err // nothing was written
	}
	s.msgs = s.msgs[:0]
	for _, a := range batch {
		s.msgs = append(s.msgs, kafka.Message{Value: a.value, Time: a.stamp})
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
	if !definite(err) {
		for _, a := range batch {
			a.stored = true
		}
	}
	s.disconnect() // the leader may have moved: look it up again
	return 0, err
}

// connect makes sure that there is a connection whose peer hasn't hung up, so that a broker that went away while nothing was
// sent doesn't leave the next record's fate open.
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
func (s *sender) expire(batch []*Ack, last error) []*Ack {
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

func (s *sender) succeed(batch []*Ack, base int64) {
	for i, a := range batch {
		a.offset = base + int64(i)
		s.finish(a)
	}
}

func (s *sender) fail(batch []*Ack, err error) {
	for _, a := range batch {
		a.err = &ProduceError{Topic: s.topic, Partition: s.partition, Stored: a.stored, Err: err}
		s.finish(a)
	}
}

func (s *sender) finish(a *Ack) {
	size := queueSize(a.value)
	a.value = nil
	close(a.done)
	s.p.queued.Release(size)
}
