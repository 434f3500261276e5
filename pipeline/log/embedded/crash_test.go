package embedded

// The broker's process is killed while it works, again and again. Afterwards a record that was acknowledged is there,
// at its offset; an offset that was committed still is; and the group stands nowhere that it wasn't told to.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"countersign/pipeline/log"
	"countersign/pipeline/log/internal/logtest"
)

const (
	crashDirVariable = "COUNTERSIGN_TEST_CRASH_DIR" // makes the test binary the process to kill
	crashTopic       = "crash"
	crashGroup       = "group"
	crashPartitions  = 3
)

// crashChild produces and consumes until it is killed, and says on standard output what it was promised, a line for
// each promise: what happened, the partition, the offset and the value.
func crashChild(dir string) {
	fail := func(err error) {
		fmt.Println("failed", err)
		os.Exit(1)
	}
	ctx := context.Background()
	b, err := Start(ctx, Config{Dir: dir, Logger: logtest.Discard})
	if err != nil {
		fail(err)
	}
	c, err := log.Open(ctx, log.Config{Brokers: b.Brokers(), Dial: b.Dial, Flush: b.Flush, Logger: logtest.Discard})
	if err != nil {
		fail(err)
	}
	spec := log.TopicSpec{Name: crashTopic, Partitions: crashPartitions, Replication: 1}
	if _, err := c.EnsureTopic(ctx, spec); err != nil {
		fail(err)
	}
	p := c.NewProducer(log.ProducerConfig{})
	var n atomic.Int64
	for part := range crashPartitions {
		for range 4 {
			go func() { fail(produceUntilKilled(ctx, p, part, &n)) }()
		}
	}
	go func() { fail(watchCommits(ctx, b.config())) }()
	handle := func(ctx context.Context, p *log.Partition) error {
		for {
			msgs, err := p.Fetch(ctx)
			if err != nil {
				return err
			}
			next := msgs[len(msgs)-1].Offset + 1
			fmt.Println("committing", p.ID(), next, "-")
			p.Commit(next)
		}
	}
	fail(c.Consume(ctx, log.GroupConfig{Group: crashGroup, Topic: crashTopic, Handle: handle}))
}

func produceUntilKilled(ctx context.Context, p *log.Producer, part int, n *atomic.Int64) error {
	for {
		value := fmt.Sprintf("%d.%d", os.Getpid(), n.Add(1))
		a, err := p.Send(ctx, crashTopic, part, []byte(value+strings.Repeat(" ", rand.IntN(20_000))))
		if err != nil {
			return err
		}
		offset, err := a.Wait(ctx)
		if err != nil {
			return err
		}
		fmt.Println("acked", part, offset, value)
	}
}

// watchCommits says what the group's coordinator calls committed.
func watchCommits(ctx context.Context, at log.Config) error {
	for {
		committed, err := logtest.Committed(ctx, at, crashGroup, crashTopic, 0, 1, 2)
		if err != nil && !errors.Is(err, kafka.GroupIdNotFound) { // nobody has joined it yet
			return err
		}
		for part, offset := range committed {
			if offset > 0 {
				fmt.Println("committed", part, offset, "-")
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// promises is what the killed processes said.
type promises struct {
	acked      map[int]map[int64]string // by partition and offset
	committing [crashPartitions]int64
	committed  [crashPartitions]int64
}

// runAndKill runs the child and adds what it says. When the child has had a record acknowledged and sees an offset
// committed, it has that long to live.
func (s *promises) runAndKill(t *testing.T, dir string, life time.Duration) {
	t.Helper()
	child := exec.CommandContext(logtest.Context(t), os.Args[0])
	child.Env = append(os.Environ(), crashDirVariable+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer child.Process.Kill()
	said, working := map[string]bool{}, false
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // killed, perhaps within a line
		}
		said[s.add(t, line)] = true
		if said["acked"] && said["committed"] && !working {
			working = true
			defer time.AfterFunc(life, func() { child.Process.Kill() }).Stop()
		}
	}
	if !working {
		t.Fatalf("the process ended before it could be killed at work; it said %v", said)
	}
}

// add adds a line that the child said, and returns what it is about.
func (s *promises) add(t *testing.T, line string) (what string) {
	t.Helper()
	var value string
	var part int
	var offset int64
	if n, _ := fmt.Sscan(line, &what, &part, &offset, &value); n != 4 {
		t.Fatalf("the child says %q", line)
	}
	switch what {
	case "acked":
		if s.acked[part] == nil {
			s.acked[part] = map[int64]string{}
		}
		s.acked[part][offset] = value
	case "committing":
		s.committing[part] = max(s.committing[part], offset)
	case "committed":
		s.committed[part] = max(s.committed[part], offset)
	}
	return what
}

// check starts the broker and compares.
func (s *promises) check(t *testing.T, dir string) {
	t.Helper()
	b, err := Start(logtest.Context(t), Config{Dir: dir, Logger: logtest.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	offsets, err := logtest.Committed(logtest.Context(t), b.config(), crashGroup, crashTopic, 0, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	for part := range crashPartitions {
		there := map[int64]string{}
		for i, m := range logtest.ReadAll(t, b.config(), crashTopic, part) {
			if m.Offset != int64(i) {
				t.Fatalf("partition %d: record %d has offset %d", part, i, m.Offset)
			}
			there[m.Offset] = strings.TrimRight(m.Value, " ")
		}
		for offset, value := range s.acked[part] {
			if there[offset] != value {
				t.Errorf("partition %d offset %d: acknowledged %s, there is %q", part, offset, value, there[offset])
			}
		}
		if got := offsets[part]; got < s.committed[part] || got > s.committing[part] {
			t.Errorf("partition %d stands at %d, committed %d, asked for %d at most",
				part, got, s.committed[part], s.committing[part])
		}
	}
}

func TestKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	random := logtest.Random(t)
	s := &promises{acked: map[int]map[int64]string{}, committed: [...]int64{-1, -1, -1}}
	for round := range 6 {
		s.runAndKill(t, dir, time.Duration(50+random.IntN(300))*time.Millisecond)
		if round%2 == 1 { // a clean stop between kills, and kills without one
			s.check(t, dir)
		}
	}
	total := 0
	for _, offsets := range s.acked {
		total += len(offsets)
	}
	t.Logf("%d records acknowledged; committed up to %v", total, s.committed)
}
