package log

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// onPartition runs f as the handler of partition 0, once.
func onPartition(t *testing.T, c *Client, topic string, f func(ctx context.Context, p *Partition)) {
	t.Helper()
	done := make(chan struct{})
	var once sync.Once
	stop := consumer(t, c, GroupConfig{Group: uniqueName("group"), Topic: topic, Handle: func(ctx context.Context, p *Partition) error {
		if p.ID() == 0 {
			once.Do(func() {
				defer close(done)
				f(ctx, p)
			})
		}
		<-ctx.Done()
		return nil
	}})
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Error("the handler doesn't end")
	}
	stop()
}

// ReadRange gives exactly the records asked for, whatever Fetch does meanwhile, and several at a time.
func TestReadRange(t *testing.T) {
	c := connect(t, testConfig(t))
	topic := newTopic(t, c, 1)
	p := newProducer(t, c, ProducerConfig{})
	values := numbered("v", 500)
	for i := 0; i < len(values); i += 50 { // several batches
		send(t, p, topic, 0, values[i:i+50]...)
	}
	read := func(ctx context.Context, p *Partition, from, to int64) (err error) {
		next := from
		err = p.ReadRange(ctx, from, to, func(m Message) error {
			if m.Offset != next || string(m.Value) != values[next] {
				return fmt.Errorf("got %s at %d, want offset %d", m.Value, m.Offset, next)
			}
			next++
			return nil
		})
		if err == nil && next != max(to, from) {
			return fmt.Errorf("ended at %d instead of %d", next, to)
		}
		return err
	}
	onPartition(t, c, topic, func(ctx context.Context, p *Partition) {
		seen := 0
		for seen < len(values) {
			msgs, err := p.Fetch(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			for _, m := range msgs {
				if m.Offset != int64(seen) {
					t.Errorf("Fetch gave offset %d, want %d", m.Offset, seen)
				}
				seen++
			}
			var wg sync.WaitGroup
			for _, r := range [][2]int64{{0, int64(seen)}, {1, 2}, {10, 45}, {30, 30}, {5, 1}} {
				wg.Go(func() {
					if err := read(ctx, p, r[0], r[1]); err != nil {
						t.Errorf("range %v: %v", r, err)
					}
				})
			}
			wg.Wait()
		}
		made := errors.New("made up")
		if err := p.ReadRange(ctx, 0, 500, func(Message) error { return made }); err != made {
			t.Errorf("the function's error: %v", err)
		}
		deleteBelow(t, c, topic, 300)
		if err := read(ctx, p, 299, 310); !errors.Is(err, ErrOffsetGone) {
			t.Errorf("a deleted range: %v", err)
		}
		if err := read(ctx, p, 300, 310); err != nil {
			t.Errorf("the first that is left: %v", err)
		}
	})
}

// A value stays as it is for as long as it is kept.
func TestValuesAreNotReused(t *testing.T) {
	c := connect(t, testConfig(t))
	topic := newTopic(t, c, 1)
	p := newProducer(t, c, ProducerConfig{})
	var kept []Message
	values := numbered("v", 300)
	onPartition(t, c, topic, func(ctx context.Context, part *Partition) {
		for i := 0; i < len(values); i += 30 {
			send(t, p, topic, 0, values[i:i+30]...)
			for len(kept) < i+30 {
				msgs, err := part.Fetch(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				kept = append(kept, msgs...)
			}
		}
	})
	for i, m := range kept {
		if string(m.Value) != values[i] {
			t.Errorf("record %d became %s", i, m.Value)
		}
	}
}

// What is produced once OpenTail returned is seen, what was there before isn't.
func TestTail(t *testing.T) {
	c := connect(t, testConfig(t))
	topic := newTopic(t, c, 3)
	p := newProducer(t, c, ProducerConfig{})
	for round := range 3 {
		for part := range 3 {
			send(t, p, topic, part, fmt.Sprint("before ", round))
		}
		tail, err := c.OpenTail(within(t, 20*time.Second), topic)
		if err != nil {
			t.Fatal(err)
		}
		for part := range 3 {
			send(t, p, topic, part, fmt.Sprint("after ", round))
		}
		seen := make(chan Message, 10)
		stop := start(t, func(ctx context.Context) error {
			return tail.Run(ctx, func(m Message) error { seen <- m; return nil })
		})
		for range 3 {
			if m := <-seen; string(m.Value) != fmt.Sprint("after ", round) {
				t.Errorf("round %d saw %s", round, m.Value)
			}
		}
		stop()
		if len(seen) > 0 {
			t.Errorf("round %d saw more: %s", round, (<-seen).Value)
		}
	}
}

func TestTailEndsWithItsFunction(t *testing.T) {
	c := connect(t, testConfig(t))
	topic := newTopic(t, c, 2)
	p := newProducer(t, c, ProducerConfig{})
	tail, err := c.OpenTail(within(t, 20*time.Second), topic)
	if err != nil {
		t.Fatal(err)
	}
	send(t, p, topic, 1, "a", "b")
	made, calls := errors.New("made up"), 0
	err = tail.Run(within(t, 20*time.Second), func(Message) error { calls++; return made })
	if err != made || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

// A tail goes on after its broker was away.
func TestTailReconnects(t *testing.T) {
	dir := t.TempDir()
	e := startEmbedded(t, dir)
	c := connect(t, Config{Brokers: e.Brokers(), Logger: discard})
	topic := newTopic(t, c, 1)
	p := newProducer(t, c, ProducerConfig{})
	tail, err := c.OpenTail(within(t, 20*time.Second), topic)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, 10)
	start(t, func(ctx context.Context) error {
		return tail.Run(ctx, func(m Message) error { seen <- string(m.Value); return nil })
	})
	send(t, p, topic, 0, "a")
	e.Close()
	back, err := StartEmbedded(within(t, 20*time.Second), EmbeddedConfig{Dir: dir, Logger: testLog(t), address: e.Brokers()[0]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { back.Close() })
	send(t, p, topic, 0, "b")
	for _, want := range []string{"a", "b"} {
		select {
		case got := <-seen:
			if got != want {
				t.Errorf("saw %s, want %s", got, want)
			}
		case <-time.After(15 * time.Second):
			t.Fatalf("%s isn't seen", want)
		}
	}
}

// Two services on one cluster don't see each other's topics or offsets.
func TestPrefixKeepsServicesApart(t *testing.T) {
	cfg := testConfig(t)
	topic := uniqueName("topic")
	lags := make(map[string]int64)
	for _, prefix := range []string{"b-", "a-"} {
		cfg.Prefix = prefix
		c := connect(t, cfg)
		if _, err := c.EnsureTopic(t.Context(), TopicSpec{Name: topic, Partitions: 1, Replication: 1}); err != nil {
			t.Fatal(err)
		}
		if prefix == "b-" {
			send(t, newProducer(t, c, ProducerConfig{}), topic, 0, "x")
		}
		lag, err := c.Lag(t.Context(), "group", topic)
		if err != nil {
			t.Fatal(err)
		}
		lags[prefix] = lag
	}
	if lags["a-"] != 0 || lags["b-"] != 1 {
		t.Errorf("records to do by prefix: %v", lags)
	}
	cfg.Prefix = "b-"
	onPartition(t, connect(t, cfg), topic, func(ctx context.Context, p *Partition) {
		msgs, err := p.Fetch(ctx)
		if err != nil || len(msgs) != 1 || msgs[0].Topic != topic || p.Topic() != topic {
			t.Errorf("fetched %v from %s, %v; want one record of %s", msgs, p.Topic(), err, topic)
		}
	})
}
