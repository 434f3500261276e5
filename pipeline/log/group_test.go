package log_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"countersign/pipeline/log"
	"countersign/pipeline/log/internal/logtest"
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
func (l *ledger) handle(member string) logtest.Handler {
	return func(ctx context.Context, p *log.Partition) error {
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

// Members come and go while records arrive: no partition has two handlers at a time, every record is handled, and
// none twice, because handlers that are revoked commit before the partition moves.
func TestGroupHandover(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	c := logtest.Open(t, cfg)
	const partitions = 4
	topic, group := logtest.NewTopic(t, c, partitions), logtest.UniqueName("group")
	l := newLedger()
	member := func(name string) (stop func()) {
		own := logtest.Open(t, cfg)
		return logtest.Consume(t, own, group, topic, l.handle(name))
	}
	produced := 0
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	produce := func() {
		for part := range partitions {
			produced += len(logtest.Send(t, p, topic, part, logtest.Numbered("v", 50)...))
		}
	}
	stopA := member("A")
	produce()
	logtest.Eventually(t, "all with A", func() bool { return l.owners()["A"] == partitions })
	stopB := member("B")
	produce()
	logtest.Eventually(t, "shared by A and B", func() bool { return l.owners()["A"] == 2 && l.owners()["B"] == 2 })
	produce()
	stopA()
	produce()
	logtest.Eventually(t, "all with B", func() bool { return l.owners()["B"] == partitions })
	produce()
	stopB()
	produce()
	defer member("C")()
	logtest.Eventually(t, fmt.Sprintf("%d records handled", produced), func() bool { return l.count() == produced })
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
	topic, group := logtest.NewTopic(t, logtest.Open(t, cfg), 2), logtest.UniqueName("group")
	l := newLedger()
	quiet := cfg
	quiet.Logger = logtest.Discard
	doomed := logtest.Open(t, quiet)
	logtest.Consume(t, doomed, group, topic, l.handle("doomed"))
	logtest.Eventually(t, "assigned", func() bool { return l.owners()["doomed"] == 2 })
	var have atomic.Int32
	doomed.Close() // no connection is left, and none can be made to leave the group
	logtest.Consume(t, logtest.Open(t, cfg), group, topic, func(ctx context.Context, p *log.Partition) error {
		have.Add(1)
		<-ctx.Done()
		return nil
	})
	begun := time.Now()
	logtest.Eventually(t, "taken over", func() bool { return have.Load() == 2 })
	t.Logf("taken over after %v", time.Since(begun).Round(100*time.Millisecond))
}

// A handler's error restarts that partition from its committed offset; the others go on undisturbed.
func TestHandlerError(t *testing.T) {
	cfg := testConfig(t)
	cfg.Logger = logtest.Discard
	c := logtest.Open(t, cfg)
	topic := logtest.NewTopic(t, c, 2)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	logtest.Send(t, p, topic, 0, logtest.Numbered("v", 10)...)
	var calls [2]atomic.Int32
	starts := make(chan int64, 10)
	logtest.Consume(t, c, logtest.UniqueName("group"), topic, func(ctx context.Context, p *log.Partition) error {
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
	})
	for _, want := range []int64{0, 4, 7} {
		if got := logtest.Receive(t, starts, "start of the handler"); got != want {
			t.Errorf("started at %d, want %d", got, want)
		}
	}
	logtest.Eventually(t, "the other partition handled", func() bool { return calls[1].Load() > 0 })
	if n := calls[1].Load(); n > 1 {
		t.Errorf("the other partition's handler was called %d times", n)
	}
}

// What is committed never moves back, and is nothing once the handler returned.
func TestCommit(t *testing.T) {
	cfg := testConfig(t)
	c := logtest.Open(t, cfg)
	topic, group := logtest.NewTopic(t, c, 1), logtest.UniqueName("group")
	logtest.Send(t, logtest.NewProducer(t, c, log.ProducerConfig{}), topic, 0, logtest.Numbered("v", 10)...)
	ctx := logtest.Context(t)
	committed := func() int64 {
		offsets, err := logtest.Committed(ctx, cfg, group, topic, 0)
		if err != nil {
			t.Fatal(err)
		}
		return offsets[0]
	}
	handed := make(chan *log.Partition, 10)
	stop := logtest.Consume(t, c, group, topic, func(ctx context.Context, p *log.Partition) error {
		handed <- p
		<-ctx.Done()
		p.Commit(8)
		return nil
	})
	p := logtest.Receive(t, handed, "partition")
	logtest.Eventually(t, "the start committed", func() bool { return committed() == 0 })
	p.Commit(5)
	logtest.Eventually(t, "5 committed", func() bool { return committed() == 5 })
	p.Commit(3)
	p.Commit(6)
	logtest.Eventually(t, "6 committed", func() bool {
		at := committed()
		if at < 5 {
			t.Fatalf("the group went back to %d", at)
		}
		return at == 6
	})
	if lag, err := c.Lag(ctx, group, topic); err != nil || lag != 4 {
		t.Errorf("lag %d, %v", lag, err)
	}
	p.CommitDone(6, 3)
	logtest.Eventually(t, "done beyond 6 known", func() bool {
		lag, err := c.Lag(ctx, group, topic)
		return err == nil && lag == 1
	})
	stop()
	p.Commit(10)
	if got := committed(); got != 8 {
		t.Errorf("committed %d when the handler returned, want 8", got)
	}
}

// A member that is stopped says so to the group, which needn't find out by itself.
func TestStoppedMemberLeaves(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	left := make(chan struct{}, 1)
	cluster.ControlKey(int16(kmsg.LeaveGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		left <- struct{}{}
		return nil, nil, false
	})
	c := logtest.Open(t, log.Config{Brokers: cluster.ListenAddrs()})
	logtest.OnPartition(t, c, logtest.NewTopic(t, c, 1), func(context.Context, *log.Partition) {})
	logtest.Receive(t, left, "request to leave")
}

// Where a partition starts, by what is committed and what the log holds.
func TestStart(t *testing.T) {
	cfg := testConfig(t)
	cfg.Logger = logtest.Discard
	c := logtest.Open(t, cfg)
	topic := logtest.NewTopic(t, c, 1)
	logtest.Send(t, logtest.NewProducer(t, c, log.ProducerConfig{}), topic, 0, logtest.Numbered("v", 10)...)
	logtest.DeleteBelow(t, cfg, topic, 4)
	for _, tc := range []struct {
		name            string
		committed, want int64
	}{
		{"nothing committed", -1, 4},
		{"committed", 6, 6},
		{"committed at the end", 10, 10},
		{"deleted since", 2, 4},
		{"beyond the end", 99, 4},
	} {
		group := logtest.UniqueName("group")
		if tc.committed >= 0 {
			logtest.Commit(t, cfg, group, topic, map[int]int64{0: tc.committed})
		}
		started := make(chan int64, 10)
		stop := logtest.Consume(t, c, group, topic, func(ctx context.Context, p *log.Partition) error {
			started <- p.Start()
			<-ctx.Done()
			return nil
		})
		if got := logtest.Receive(t, started, "start of the handler"); got != tc.want {
			t.Errorf("%s: starts at %d, want %d", tc.name, got, tc.want)
		}
		stop()
		offsets, err := logtest.Committed(logtest.Context(t), cfg, group, topic, 0)
		if err != nil || offsets[0] != tc.want {
			t.Errorf("%s: the group stands at %d, want %d (%v)", tc.name, offsets[0], tc.want, err)
		}
	}
}
