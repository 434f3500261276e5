package sink

import (
	"context"

	"google.golang.org/protobuf/proto"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/clickhouse"
)

// Events wake whoever waits for a result. They are a courtesy: they leave after their rows are stored, may repeat (a replay) or miss (a
// crash, Kafka away), and whoever waits asks ClickHouse as well. So they never hold up a flush or a commit.

// eventFlushes is how many flushes' events may wait to be sent; when Kafka is slower than that, the next ones are dropped.
const eventFlushes = 64

// announce queues the events of stored results.
func (st *stage) announce(results []clickhouse.ResultRow) {
	if len(results) == 0 {
		return
	}
	events := make([]*recordpb.Event, len(results))
	for i := range results {
		events[i] = eventOf(&results[i])
	}
	select {
	case st.events <- events:
	default:
		st.metrics.eventsDropped.Add(float64(len(events)))
	}
}

// publish sends events until the writer has ended, all that wait in as few records as hold them.
func (st *stage) publish(ctx context.Context) {
	for waiting := range st.events {
		for n := len(st.events); n > 0; n-- { // nobody else receives
			waiting = append(waiting, <-st.events...)
		}
		for len(waiting) > 0 {
			n := fitting(waiting)
			st.sendEvents(ctx, waiting[:n])
			waiting = waiting[n:]
		}
	}
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
