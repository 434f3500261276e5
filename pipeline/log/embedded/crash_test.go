package embedded

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"countersign/pipeline/log"
	"countersign/pipeline/log/internal/logtest"
)

// The broker's process is killed while it works, again and again. What was acknowledged is there afterwards, at its offset; what was
// committed still is, and the group stands nowhere that it wasn't told to.

const (
	crashDirVariable = "KAFKAIO_TEST_CRASH_DIR" // makes the test binary the process to kill
	crashTopic       = "crash"
	crashGroup       = "group"
	crashPartitions  = 3
)

// crashChild produces and consumes until it is killed, and tells on standard output what it was promised.
func crashChild(dir string) {
	fail := func(err error) {
		fmt.Println("failed", err)
		os.Exit(1)
	}
	ctx := context.Background()
	e, err := StartEmbedded(ctx, EmbeddedConfig{Dir: dir, Logger: logtest.Discard})
	if err != nil {
		fail(err)
	}
	c, err := log.Open(ctx, log.Config{Brokers: e.Brokers(), Flush: e.Flush, Logger: logtest.Discard})
	if err != nil {
		fail(err)
	}
	if _, err := c.EnsureTopic(ctx, log.TopicSpec{Name: crashTopic, Partitions: crashPartitions, Replication: 1}); err != nil {
		fail(err)
	}
	p := c.NewProducer(log.ProducerConfig{})
	var n atomic.Int64
	for part := range crashPartitions {
		for range 4 {
			go func() {
				for {
					value := fmt.Sprintf("%d.%d", os.Getpid(), n.Add(1))
					a, err := p.Send(ctx, crashTopic, part, []byte(value+strings.Repeat(" ", rand.IntN(20_000))))
					if err != nil {
						fail(err)
					}
					offset, err := a.Wait(ctx)
					if err != nil {
						fail(err)
					}
					fmt.Println("acked", part, offset, value)
				}
			}()
		}
	}
	fail(c.Consume(ctx, log.GroupConfig{Group: crashGroup, Topic: crashTopic, Handle: func(ctx context.Context, p *log.Partition) error {
		for {
			msgs, err := p.Fetch(ctx)
			if err != nil {
				return err
			}
			next := msgs[len(msgs)-1].Offset + 1
			fmt.Println("committing", p.ID(), next, "-")
			if err := p.CommitNow(ctx, next); err != nil {
				return err
			}
			fmt.Println("committed", p.ID(), next, "-")
		}
	}}))
}

// promises is what the killed processes said.
type promises struct {
	acked      map[int]map[int64]string // by partition and offset
	committing [crashPartitions]int64
	committed  [crashPartitions]int64
}

// runAndKill runs the child for a while and adds what it said.
func (s *promises) runAndKill(t *testing.T, dir string, life time.Duration) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), crashDirVariable+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Second, func() { child.Process.Kill() })
	lines, working := bufio.NewReader(out), false
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // killed, perhaps within a line
		}
		var what, value string
		var part int
		var offset int64
		if n, _ := fmt.Sscan(line, &what, &part, &offset, &value); n != 4 {
			t.Fatalf("the child says %q", line)
		}
		switch what {
		case "acked":
			if !working {
				working = true
				time.AfterFunc(life, func() { child.Process.Kill() })
			}
			if s.acked[part] == nil {
				s.acked[part] = map[int64]string{}
			}
			s.acked[part][offset] = value
		case "committing":
			s.committing[part] = max(s.committing[part], offset)
		case "committed":
			s.committed[part] = max(s.committed[part], offset)
		}
	}
	child.Wait()
}

// check starts the broker and compares.
func (s *promises) check(t *testing.T, dir string) {
	t.Helper()
	e, err := StartEmbedded(logtest.Context(t), EmbeddedConfig{Dir: dir, Logger: logtest.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	offsets, err := logtest.Committed(logtest.Context(t), e.Brokers(), crashGroup, crashTopic, 0, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	for part := range crashPartitions {
		there := map[int64]string{}
		for i, m := range logtest.ReadAll(t, e.Brokers(), crashTopic, part) {
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
			t.Errorf("partition %d stands at %d, committed %d, asked for %d at most", part, got, s.committed[part], s.committing[part])
		}
	}
}

func TestKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := &promises{acked: map[int]map[int64]string{}, committed: [...]int64{-1, -1, -1}}
	for round := range 6 {
		s.runAndKill(t, dir, time.Duration(50+rand.IntN(300))*time.Millisecond)
		if round%2 == 1 { // a clean stop between kills, and kills without one
			s.check(t, dir)
		}
	}
	total := 0
	for _, offsets := range s.acked {
		total += len(offsets)
	}
	t.Logf("%d records acknowledged", total)
	if total < 100 {
		t.Error("too few to mean anything")
	}
}
