package sink

import (
	"context"
	"sync"

	"google.golang.org/protobuf/proto"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/dedupe"
	"countersign/sink/store"
)

// Events wake whoever waits for a result. They are a courtesy: they may repeat (a replay) or miss (a crash, Kafka away), and whoever
// waits asks ClickHouse as well. So they never hold up a flush or a commit.
//
// They leave after their rows are stored, but for those of single signings, which leave once the log is flushed: what was decided by a
// durable log can't be decided otherwise, and the event carries the row for whoever asks before it is stored.

// maxEvents is how many events may wait to be sent, some 300 bytes each; when Kafka is slower than that, the next ones are dropped.
const maxEvents = 1 << 16

// eventQueue holds the events that wait to be sent.
type eventQueue struct {
	wake chan struct{} // cap 1; never closed

	mu              sync.Mutex
	decided, stored []*recordpb.Event // guarded by mu
}

func newEventQueue() *eventQueue { return &eventQueue{wake: make(chan struct{}, 1)} }

// put adds events of rows that are stored, or only decided, and reports whether there was room for them.
func (q *eventQueue) put(decided, stored []*recordpb.Event) bool {
	if len(decided)+len(stored) == 0 {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.decided)+len(q.stored)+len(decided)+len(stored) > maxEvents {
		return false
	}
	q.decided, q.stored = append(q.decided, decided...), append(q.stored, stored...)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

func (q *eventQueue) take() (decided, stored []*recordpb.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	decided, stored = q.decided, q.stored
	q.decided, q.stored = nil, nil
	return decided, stored
}

// announce queues events.
func (st *stage) announce(decided, stored []*recordpb.Event) {
	if !st.events.put(decided, stored) {
		st.metrics.eventsDropped.Add(float64(len(decided) + len(stored)))
	}
}

// publish sends events, all that wait in as few records as hold them, until the writer has ended and none are left.
func (st *stage) publish(ctx context.Context) {
	for last := false; !last; {
		select {
		case <-st.events.wake:
		case <-st.written:
			last = true
		}
		decided, stored := st.events.take()
		if len(decided) > 0 && !st.flushLog(ctx) {
			st.metrics.eventsDropped.Add(float64(len(decided)))
			decided = nil
		}
		for waiting := append(stored, decided...); len(waiting) > 0; {
			n := fitting(waiting)
			st.sendEvents(ctx, waiting[:n])
			waiting = waiting[n:]
		}
	}
}

// flushLog makes durable what decided.
func (st *stage) flushLog(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, st.SendTimeout)
	defer cancel()
	if err := st.FlushLog(ctx); err != nil {
		st.Logger.Warn("single signings aren't told of before they are stored", "err", err)
		return false
	}
	return true
}

func (st *stage) sendEvents(ctx context.Context, events []*recordpb.Event) {
	ctx, cancel := context.WithTimeout(ctx, st.SendTimeout)
	defer cancel()
	err := st.Send(ctx, record.TopicEvents, 0, record.Encode(&recordpb.Events{Events: events}))
	if err != nil {
		st.metrics.eventsDropped.Add(float64(len(events)))
		st.Logger.Warn("events not sent; whoever waits for these results has to ask for them", "events", len(events), "err", err)
	}
}

// fitting is how many of events fit into one record; at least one.
func fitting(events []*recordpb.Event) int {
	const framing = 8 // of an event within the record, at most
	size := 0
	for i, e := range events {
		if size += proto.Size(e) + framing; size > record.MaxBytes && i > 0 {
			return i
		}
	}
	return len(events)
}

// eventOf tells of a result. It outlives the row, which is reused.
func eventOf(r *store.ResultRow) *recordpb.Event {
	e := &recordpb.Event{
		Upload: append([]byte(nil), r.Upload[:]...), Batch: r.Batch, Shard: r.Shard, Part: r.Part, Claims: r.Claims,
		Added: uint32(r.Added.Len()), Duplicates: uint32(r.Duplicates.Len()), BadSignatures: uint32(r.BadSignatures.Len()),
		Errors: uint32(len(r.Errors)),
	}
	if len(r.Errors) > 0 {
		e.Reason = r.Errors[0].Reason
	}
	return e
}

// signedOf is the row of a single signing that counts as added. It shares the record's memory.
func signedOf(c resolved) *recordpb.Signed {
	if c.verdicts[0] == dedupe.Duplicate {
		return nil
	}
	signer := c.Signers[signerOf(c.Claims, 0)]
	return &recordpb.Signed{
		Hash: c.Hashes, Position: record.Position(c.Batch, record.Uint16(c.Indexes, 0)), Site: c.Site, AcceptedMs: c.AcceptedMs,
		Algorithm: signer.GetAlgorithm(), Signature: c.Signatures, Certificate: signer.GetFingerprint(),
	}
}
