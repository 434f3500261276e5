package log_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"countersign/pipeline/log"
	"countersign/pipeline/log/internal/logtest"
)

// ReadRange gives exactly the records asked for, whatever Fetch does meanwhile, and several at a time.
func TestReadRange(t *testing.T) {
	cfg := testConfig(t)
	c := logtest.Open(t, cfg)
	topic := logtest.NewTopic(t, c, 1)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	values := logtest.Numbered("v", 500)
	for i := 0; i < len(values); i += 50 { // several batches
		logtest.Send(t, p, topic, 0, values[i:i+50]...)
	}
	read := func(ctx context.Context, p *log.Partition, from, to int64) (err error) {
		next := from
		err = p.ReadRange(ctx, from, to, func(m log.Message) error {
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
	logtest.OnPartition(t, c, topic, func(ctx context.Context, p *log.Partition) {
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
		if err := p.ReadRange(ctx, 0, 500, func(log.Message) error { return made }); !errors.Is(err, made) {
			t.Errorf("the function's error: %v", err)
		}
		logtest.DeleteBelow(t, cfg, topic, 300)
		if err := read(ctx, p, 299, 310); !errors.Is(err, log.ErrOffsetGone) {
			t.Errorf("a deleted range: %v", err)
		}
		if err := read(ctx, p, 300, 310); err != nil {
			t.Errorf("the first that is left: %v", err)
		}
	})
}

// A value stays as it is for as long as it is kept.
func TestValuesAreNotReused(t *testing.T) {
	c := logtest.Open(t, testConfig(t))
	topic := logtest.NewTopic(t, c, 1)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	var kept []log.Message
	values := logtest.Numbered("v", 300)
	logtest.OnPartition(t, c, topic, func(ctx context.Context, part *log.Partition) {
		for i := 0; i < len(values); i += 30 {
			logtest.Send(t, p, topic, 0, values[i:i+30]...)
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
	c := logtest.Open(t, testConfig(t))
	topic := logtest.NewTopic(t, c, 3)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	for round := range 3 {
		for part := range 3 {
			logtest.Send(t, p, topic, part, fmt.Sprint("before ", round))
		}
		tail, err := c.OpenTail(logtest.Context(t), topic)
		if err != nil {
			t.Fatal(err)
		}
		for part := range 3 {
			logtest.Send(t, p, topic, part, fmt.Sprint("after ", round))
		}
		seen := make(chan log.Message, 10)
		stop := logtest.Run(t, func(ctx context.Context) error {
			return tail.Run(ctx, func(m log.Message) error { seen <- m; return nil })
		})
		for range 3 {
			if m := logtest.Receive(t, seen, "record"); string(m.Value) != fmt.Sprint("after ", round) {
				t.Errorf("round %d saw %s", round, m.Value)
			}
		}
		stop()
		if len(seen) > 0 {
			t.Errorf("round %d saw more: %s", round, (<-seen).Value)
		}
	}
}

// CaughtUp returns when what was acknowledged before it was called has been given to the function, however many ask,
// and not before. Check knows whether the partitions are followed.
func TestTailCaughtUp(t *testing.T) {
	c := logtest.Open(t, testConfig(t))
	topic := logtest.NewTopic(t, c, 3)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	logtest.Send(t, p, topic, 0, "before")
	ctx := logtest.Context(t)
	tail, err := c.OpenTail(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	if err := tail.CaughtUp(ctx); err != nil {
		t.Errorf("with nothing to see: %v", err)
	}
	logtest.Send(t, p, topic, 2, "held up")
	entered, release := make(chan struct{}), make(chan struct{})
	var given atomic.Int64
	stop := logtest.Run(t, func(ctx context.Context) error {
		return tail.Run(ctx, func(log.Message) error {
			if given.Load() == 0 {
				close(entered)
				<-release
			}
			given.Add(1)
			return nil
		})
	})
	logtest.Receive(t, entered, "call")
	early := make(chan error, 1)
	go func() { early <- tail.CaughtUp(ctx) }()
	short, cancel := context.WithCancel(ctx)
	cancel()
	if err := tail.CaughtUp(short); !errors.Is(err, context.Canceled) {
		t.Errorf("after the caller's time: %v", err)
	}
	select {
	case err := <-early:
		t.Errorf("caught up with a record that is still being handled: %v", err)
	default:
	}
	close(release)
	if err := logtest.Receive(t, early, "end of the wait"); err != nil || given.Load() == 0 {
		t.Errorf("%v with %d records given", err, given.Load())
	}
	var sent atomic.Int64
	var wg sync.WaitGroup
	for part := range 3 {
		for range 8 {
			wg.Go(func() {
				for range 50 {
					logtest.Send(t, p, topic, part, "x")
					want := sent.Add(1) + 1
					if err := tail.CaughtUp(ctx); err != nil {
						t.Error(err)
					}
					if got := given.Load(); got < want {
						t.Errorf("%d records given when %d were acknowledged", got, want)
					}
				}
			})
		}
	}
	wg.Wait()
	if err := tail.Check(); err != nil {
		t.Error(err)
	}
	stop()
	if err := tail.CaughtUp(ctx); !errors.Is(err, log.ErrClosed) {
		t.Errorf("after its end: %v", err)
	}
	if err := tail.Check(); !errors.Is(err, log.ErrClosed) {
		t.Errorf("check after its end: %v", err)
	}
}

// A tail whose broker says nothing any more says so.
func TestTailCheck(t *testing.T) {
	t.Parallel()
	brokers := startCluster3(t)[:1]
	n := newNetwork(t)
	c := logtest.Open(t, log.Config{Brokers: brokers, Dial: n.dial, Logger: logtest.Discard})
	tail, err := c.OpenTail(logtest.Context(t), logtest.NewTopic(t, c, 1))
	if err != nil {
		t.Fatal(err)
	}
	logtest.Run(t, func(ctx context.Context) error { return tail.Run(ctx, func(log.Message) error { return nil }) })
	if err := tail.Check(); err != nil {
		t.Error(err)
	}
	n.freeze()
	logtest.Eventually(t, "noticed", func() bool { return errors.Is(tail.Check(), log.ErrUnavailable) })
	n.thaw()
	logtest.Eventually(t, "back", func() bool { return tail.Check() == nil })
}

func TestTailEndsWithItsFunction(t *testing.T) {
	c := logtest.Open(t, testConfig(t))
	topic := logtest.NewTopic(t, c, 2)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	tail, err := c.OpenTail(logtest.Context(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	logtest.Send(t, p, topic, 1, "a", "b")
	made, calls := errors.New("made up"), 0
	err = tail.Run(logtest.Context(t), func(log.Message) error { calls++; return made })
	if !errors.Is(err, made) || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

// A tail that was so slow that retention has deleted what it would read next says so.
func TestTailMissesRecords(t *testing.T) {
	cfg := testConfig(t)
	c := logtest.Open(t, cfg)
	topic := logtest.NewTopic(t, c, 1)
	tail, err := c.OpenTail(logtest.Context(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	logtest.Send(t, logtest.NewProducer(t, c, log.ProducerConfig{}), topic, 0, logtest.Numbered("v", 3)...)
	logtest.DeleteBelow(t, cfg, topic, 3)
	if err := tail.Run(logtest.Context(t), func(log.Message) error { return nil }); !errors.Is(err, log.ErrOffsetGone) {
		t.Error(err)
	}
}

// A tail goes on after its broker was away.
func TestTailReconnects(t *testing.T) {
	dir := t.TempDir()
	e := startEmbedded(t, dir)
	c := logtest.Open(t, log.Config{Brokers: e.Brokers(), Logger: logtest.Discard})
	topic := logtest.NewTopic(t, c, 1)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	tail, err := c.OpenTail(logtest.Context(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, 10)
	logtest.Run(t, func(ctx context.Context) error {
		return tail.Run(ctx, func(m log.Message) error { seen <- string(m.Value); return nil })
	})
	logtest.Send(t, p, topic, 0, "a")
	e.Close()
	restartEmbedded(t, e, dir)
	logtest.Send(t, p, topic, 0, "b")
	for _, want := range []string{"a", "b"} {
		if got := logtest.Receive(t, seen, "record"); got != want {
			t.Errorf("saw %s, want %s", got, want)
		}
	}
}

// Two services on one cluster don't see each other's topics or offsets.
func TestPrefixKeepsServicesApart(t *testing.T) {
	cfg := testConfig(t)
	topic := logtest.UniqueName("topic")
	lags := make(map[string]int64)
	for _, prefix := range []string{"b-", "a-"} {
		cfg.Prefix = prefix
		c := logtest.Open(t, cfg)
		if _, err := c.EnsureTopic(t.Context(), log.TopicSpec{Name: topic, Partitions: 1, Replication: 1}); err != nil {
			t.Fatal(err)
		}
		if prefix == "b-" {
			logtest.Send(t, logtest.NewProducer(t, c, log.ProducerConfig{}), topic, 0, "x")
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
	logtest.OnPartition(t, logtest.Open(t, cfg), topic, func(ctx context.Context, p *log.Partition) {
		msgs, err := p.Fetch(ctx)
		if err != nil || len(msgs) != 1 {
			t.Errorf("fetched %v, %v; want one record", msgs, err)
		}
	})
}
