package sink

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"

	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// Events wake whoever waits for a result. They are a courtesy: an event may repeat (a replay) or be missing (a crash,
// Kafka away), and whoever waits for a result asks ClickHouse as well. So events never hold up a flush or a commit.
//
// Most events leave after their rows are stored. Those of single signings leave early, once the log is flushed: what a
// durable log has decided can't be decided otherwise. An early event carries its row for those who ask before the row
// is stored.

// maxEvents is how many events may wait to be sent, some 300 bytes each. When Kafka is slower than that, further ones
// are dropped.
const maxEvents = 1 << 16

// announcement is an event on its way.
type announcement struct {
	event *recordpb.Event
	early bool // the row isn't stored yet
}

// announce queues events, all of them early or none.
func (st *stage) announce(events []*recordpb.Event, early bool) {
	all := make([]announcement, len(events))
	for i, e := range events {
		all[i] = announcement{e, early}
	}
	if !st.announcements.PutWithin(maxEvents, all...) {
		st.metrics.eventsDropped.Add(float64(len(events)))
	}
}

// publish sends events, all that wait in as few records as hold them, until the writer has ended and none are left.
func (st *stage) publish(ctx context.Context) {
	for last := false; !last; {
		select {
		case <-st.announcements.Ready():
		case <-st.written:
			last = true
		}
		for waiting := st.allowed(ctx, st.announcements.Take()); len(waiting) > 0; {
			n := fitting(waiting)
			st.sendEvents(ctx, waiting[:n])
			waiting = waiting[n:]
		}
	}
}

// allowed returns the events that may leave now: early ones are dropped if what decided them can't be made durable.
func (st *stage) allowed(ctx context.Context, all []announcement) []*recordpb.Event {
	isEarly := func(a announcement) bool { return a.early }
	if slices.ContainsFunc(all, isEarly) && !st.flushLog(ctx) {
		before := len(all)
		all = slices.DeleteFunc(all, isEarly)
		st.metrics.eventsDropped.Add(float64(before - len(all)))
	}
	events := make([]*recordpb.Event, len(all))
	for i, a := range all {
		events[i] = a.event
	}
	return events
}

// flushLog makes durable what decided early events, and reports whether it is.
func (st *stage) flushLog(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, st.SendTimeout)
	defer cancel()
	if err := st.FlushLog(ctx); err != nil {
		st.Logger.Warn("the log can't be flushed; events of single signings are dropped", "error", err)
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
		st.Logger.Warn("events not sent; whoever waits for these results has to ask for them",
			"events", len(events), "error", err)
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
