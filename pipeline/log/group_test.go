package log

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// ledger notes who handled which record.
type ledger struct {
	mu      sync.Mutex
	seen    map[string]int // partition and offset: times
	working map[int]string // partition: member
	clashes []string
}

func newLedger() *ledger { return &ledger{seen: map[string]int{}, working: map[int]string{}} }

// handle reads, notes and commits until ctx ends.
func (l *ledger) handle(member string) func(ctx context.Context, p *Partition) error {
	return func(ctx context.Context, p *Partition) error {
		l.mu.Lock()
		if other := l.working[p.ID()]; other != "" {
			l.clashes = append(l.clashes, fmt.Sprintf("%s got partition %d while %s had it", member, p.ID(), other))
		}
		l.working[p.ID()] = member
		l.mu.Unlock()
		defer func() {
			l.mu.Lock()
			l.working[p.ID()] = ""
			l.mu.Unlock()
		}()
		for {
			msgs, err := p.Fetch(ctx)
			if err != nil {
				return err
			}
			l.mu.Lock()
			for _, m := range msgs {
				l.seen[fmt.Sprint(m.Partition, "/", m.Offset)]++
			}
			l.mu.Unlock()
			p.Commit(msgs[len(msgs)-1].Offset + 1)
		}
	}
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.seen)
}

func (l *ledger) owners() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := map[string]int{}
	for _, member := range l.working {
		if member != "" {
			n[member]++
		}
	}
	return n
}

// eventually waits until ok.
func eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v: not yet %s", limit, what)
		}
	}
}

func consumer(t testing.TB, c *Client, cfg GroupConfig) (stop func()) {
	return start(t, func(ctx context.Context) error { return c.Consume(ctx, cfg) })
}

// Members come and go while records arrive: no partition has two handlers at a time, every record is handled, and none twice,
// because handlers that are revoked commit before the partition moves.
func TestGroupHandover(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	c := connect(t, cfg)
	const partitions = 4
	topic, group := newTopic(t, c, partitions), uniqueName("group")
	l := newLedger()
	member := func(name string) (stop func()) {
		own := connect(t, cfg)
		return consumer(t, own, GroupConfig{Group: group, Topic: topic, Handle: l.handle(name)})
	}
	produced := 0
	p := newProducer(t, c, ProducerConfig{})
	produce := func() {
		for part := range partitions {
			produced += len(send(t, p, topic, part, numbered("v", 50)...))
		}
	}
	stopA := member("A")
	produce()
	eventually(t, 15*time.Second, "all with A", func() bool { return l.owners()["A"] == partitions })
	stopB := member("B")
	produce()
	eventually(t, 15*time.Second, "shared by A and B", func() bool { return l.owners()["A"] == 2 && l.owners()["B"] == 2 })
	produce()
	stopA()
	produce()
	eventually(t, 5*time.Second, "all with B at once after A left", func() bool { return l.owners()["B"] == partitions })
	produce()
	stopB()
	produce()
	defer member("C")()
	eventually(t, 15*time.Second, fmt.Sprintf("%d records handled", produced), func() bool { return l.count() == produced })
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, clash := range l.clashes {
		t.Error(clash)
	}
	for record, times := range l.seen {
		if times != 1 {
			t.Errorf("record %s was handled %d times", record, times)
		}
	}
}

// A member that vanished without a word loses its partitions in about ten seconds.
func TestCrashedMember(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	topic, group := newTopic(t, connect(t, cfg), 2), uniqueName("group")
	l := newLedger()
	quiet := cfg
	quiet.Logger = discard
	doomed := connect(t, quiet)
	consumer(t, doomed, GroupConfig{Group: group, Topic: topic, Handle: l.handle("doomed")})
	eventually(t, 15*time.Second, "assigned", func() bool { return l.owners()["doomed"] == 2 })
	var have atomic.Int32
	doomed.Close() // no connection is left, and none can be made to leave the group
	consumer(t, connect(t, cfg), GroupConfig{Group: group, Topic: topic, Handle: func(ctx context.Context, p *Partition) error {
		have.Add(1)
		<-ctx.Done()
		return nil
	}})
	begun := time.Now()
	eventually(t, 13*time.Second, "taken over", func() bool { return have.Load() == 2 })
	t.Logf("taken over after %v", time.Since(begun).Round(100*time.Millisecond))
}

// A handler's error restarts that partition from its committed offset; the others go on undisturbed.
func TestHandlerError(t *testing.T) {
	cfg := testConfig(t)
	cfg.Logger = discard
	c := connect(t, cfg)
	topic := newTopic(t, c, 2)
	p := newProducer(t, c, ProducerConfig{})
	send(t, p, topic, 0, numbered("v", 10)...)
	var calls [2]atomic.Int32
	starts := make(chan int64, 10)
	consumer(t, c, GroupConfig{Group: uniqueName("group"), Topic: topic, Handle: func(ctx context.Context, p *Partition) error {
		call := calls[p.ID()].Add(1)
		if p.ID() == 1 {
			<-ctx.Done()
			return ctx.Err()
		}
		starts <- p.Start()
		switch call {
		case 1:
			p.Commit(4)
			return errors.New("made up")
		case 2:
			p.Commit(7)
			return nil // early
		}
		<-ctx.Done()
		return nil
	}})
	for _, want := range []int64{0, 4, 7} {
		select {
		case got := <-starts:
			if got != want {
				t.Errorf("started at %d, want %d", got, want)
			}
		case <-time.After(15 * time.Second):
			t.Fatal("not started again")
		}
	}
	if n := calls[1].Load(); n != 1 {
		t.Errorf("the other partition's handler was called %d times", n)
	}
}

// What is committed never moves back, and is nothing once the handler returned.
func TestCommit(t *testing.T) {
	c := connect(t, testConfig(t))
	topic, group := newTopic(t, c, 1), uniqueName("group")
	send(t, newProducer(t, c, ProducerConfig{}), topic, 0, numbered("v", 10)...)
	ctx := within(t, 30*time.Second)
	committed := func() int64 {
		offsets, err := c.committed(ctx, group, topic, []int{0})
		if err != nil {
			t.Fatal(err)
		}
		return offsets[0]
	}
	handed := make(chan *Partition)
	stop := consumer(t, c, GroupConfig{Group: group, Topic: topic, Handle: func(ctx context.Context, p *Partition) error {
		handed <- p
		<-ctx.Done()
		p.Commit(8)
		return nil
	}})
	p := <-handed
	eventually(t, 5*time.Second, "the start committed", func() bool { return committed() == 0 })
	if err := p.CommitNow(ctx, 5); err != nil || committed() != 5 {
		t.Errorf("committed %d, %v", committed(), err)
	}
	p.Commit(3)
	if err := p.CommitNow(ctx, 4); err != nil || committed() != 5 {
		t.Errorf("committed %d after a lower offset, %v", committed(), err)
	}
	p.Commit(6)
	eventually(t, 5*time.Second, "6 committed", func() bool { return committed() == 6 })
	if lag, err := c.Lag(ctx, group, topic); err != nil || lag != 4 {
		t.Errorf("lag %d, %v", lag, err)
	}
	stop()
	if got := committed(); got != 8 {
		t.Errorf("committed %d when the handler returned, want 8", got)
	}
	p.Commit(9)
	if err := p.CommitNow(ctx, 10); !errors.Is(err, ErrRevoked) || committed() != 8 {
		t.Errorf("committed %d after the end, %v", committed(), err)
	}
}

// A commit that the coordinator refuses because the generation is over is dropped; one that fails otherwise is repeated.
func TestCommitFailures(t *testing.T) {
	var sent []map[int]int64
	var answer error
	c := newCommits(func(offsets map[int]int64) error {
		sent = append(sent, offsets)
		return answer
	})
	c.open(1, 100)
	answer = kafka.RequestTimedOut
	c.set(1, 105)
	if err := c.flush(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("flush: %v", err)
	}
	answer = kafka.IllegalGeneration
	if err := c.flush(); !errors.Is(err, ErrRevoked) || len(sent) != 2 || sent[1][1] != 105 {
		t.Errorf("flush: %v, sent %v", err, sent)
	}
	if err := c.flush(); err != nil || len(sent) != 2 {
		t.Errorf("flush of nothing: %v, sent %v", err, sent)
	}
	if c.set(2, 5) {
		t.Error("a partition that isn't owned is committed for")
	}
}

// A handler that starts again at a lower offset, because a broker lost records, isn't overtaken by a commit from before.
func TestCommitFromBeforeALoss(t *testing.T) {
	var c *commits
	c = newCommits(func(map[int]int64) error {
		c.open(1, 4) // while the request is on its way
		return kafka.RequestTimedOut
	})
	c.open(1, 100)
	c.set(1, 105)
	_ = c.flush()
	if next, ok := c.pending[1]; ok {
		t.Errorf("%d will be committed, and the handler has begun at 4", next)
	}
}

// Where a partition starts, by what is committed and what the log holds.
func TestStart(t *testing.T) {
	cfg := testConfig(t)
	cfg.Logger = discard
	c := connect(t, cfg)
	topic := newTopic(t, c, 1)
	send(t, newProducer(t, c, ProducerConfig{}), topic, 0, numbered("v", 10)...)
	ctx := within(t, 50*time.Second)
	deleteBelow(t, c, topic, 4)
	for _, tc := range []struct {
		name      string
		committed int64
		from      StartFrom
		want      int64
	}{
		{"nothing committed", -1, Earliest, 4},
		{"nothing committed, latest", -1, Latest, 10},
		{"committed", 6, Earliest, 6},
		{"committed, latest", 6, Latest, 6},
		{"committed at the end", 10, Earliest, 10},
		{"deleted since", 2, Earliest, 4},
		{"beyond the end", 99, Earliest, 4},
	} {
		group := uniqueName("group")
		if tc.committed >= 0 {
			eventually(t, 15*time.Second, "committed from outside", func() bool {
				return commitOutside(ctx, c, group, topic, []kafka.OffsetCommit{{Partition: 0, Offset: tc.committed}}) == nil
			})
		}
		started := make(chan int64, 1)
		stop := consumer(t, c, GroupConfig{Group: group, Topic: topic, StartFrom: tc.from, Handle: func(ctx context.Context, p *Partition) error {
			started <- p.Start()
			<-ctx.Done()
			return nil
		}})
		if got := <-started; got != tc.want {
			t.Errorf("%s: starts at %d, want %d", tc.name, got, tc.want)
		}
		stop()
		if offsets, err := c.committed(ctx, group, topic, []int{0}); err != nil || offsets[0] != tc.want {
			t.Errorf("%s: the group stands at %d, want %d (%v)", tc.name, offsets[0], tc.want, err)
		}
	}
}
