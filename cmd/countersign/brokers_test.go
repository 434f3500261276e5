package main

// What a caller is told is true at every process: two processes of each role on three brokers of Apache Kafka, while one
// of them, or more, hangs, dies and comes back.

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"countersign/sink/store"
	"countersign/sink/store/engine"
)

// brokers is the cluster of three that scripts/kafka.sh has started in a folder. Tests that stop its brokers must not
// run beside others.
type brokers struct {
	t   *testing.T
	dir string
}

const brokerCount = 3

// threeBrokers returns the cluster of KAFKA_CLUSTER. All its brokers run, and run again when the test ends.
func threeBrokers(t *testing.T) *brokers {
	t.Helper()
	b := &brokers{t, os.Getenv("KAFKA_CLUSTER")}
	if b.dir == "" {
		t.Skip("KAFKA_CLUSTER names no folder of a cluster that scripts/kafka.sh has started")
	}
	t.Cleanup(func() {
		for n := range brokerCount {
			b.goOn(n)
			if !b.runs(n) {
				b.restart(n)
			}
		}
	})
	return b
}

// pid is the process of broker n, counted from 0.
func (b *brokers) pid(n int) int {
	text, err := os.ReadFile(filepath.Join(b.dir, strconv.Itoa(n+1), "pid"))
	must(b.t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(b.t, err)
	return pid
}

// runs reports whether a broker's process is there. Nobody may have waited for one that has ended.
func (b *brokers) runs(n int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(b.pid(n)) + "/status")
	return err == nil && !strings.Contains(string(text), "\nState:\tZ")
}

func (b *brokers) hang(n int) { must(b.t, syscall.Kill(b.pid(n), syscall.SIGSTOP)) }

// goOn lets a broker that hangs go on. One that has ended stays so.
func (b *brokers) goOn(n int) { _ = syscall.Kill(b.pid(n), syscall.SIGCONT) }

func (b *brokers) kill(n int) {
	must(b.t, syscall.Kill(b.pid(n), syscall.SIGKILL))
	for end := time.Now().Add(patience); b.runs(n); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("broker %d doesn't end", n)
		}
	}
}

func (b *brokers) restart(n int) {
	out, err := exec.Command("../../scripts/kafka.sh", "restart", b.dir, strconv.Itoa(n+1)).CombinedOutput()
	if err != nil {
		b.t.Errorf("restart broker %d: %v\n%s", n, err, out)
	}
}

func TestBrokersAndProcessesHangAndDie(t *testing.T) {
	kafka := threeBrokers(t)
	first := int(newRandomTimes(t).upTo(brokerCount-1, "the first broker"))
	second, third := (first+1)%brokerCount, (first+2)%brokerCount
	w := newWorld(t)
	sign := w.ecdsa("ec.example")
	clickhouse, err := engine.Start(t.Context(), engine.Config{Dir: t.TempDir(), Grants: store.ServiceGrants("default")})
	must(t, err)
	t.Cleanup(func() { must(t, clickhouse.Close(context.Background())) })
	shared := append(append(w.args(), logArgs(t)...), "--clickhouse", clickhouse.URL())
	role := func(name string) *node { return start(t, append(shared, "--role", name)...) }

	var ingests, verifies, sinks [2]*seat
	take := func(name string, s *seat) *seat { s.Store(role(name)); return s }
	for i := range 2 {
		ingests[i], verifies[i], sinks[i] = take("ingest", new(seat)), take("verify", new(seat)), take("sink", new(seat))
	}
	known := good("known", 100, sign)
	ingests[0].Load().expect(ingests[0].Load().upload("ec.example", known), known)
	c := newCallers(t, "ec.example", sign, known, ingests)
	bothReady := func() {
		ingests[0].Load().saysReady()
		ingests[1].Load().saysReady()
	}
	bothRefuse := func() {
		for i := range ingests {
			ingests[i].Load().saysUnready("log")
		}
		for i := range ingests {
			c.refusedAtOnce(i)
		}
	}

	c.next("all is well")
	c.awaitFinished()
	c.awaitAccepted(0, 1)

	c.next("one broker hangs, and its partitions need new leaders")
	kafka.hang(first)
	c.askNewcomer(role("ingest")) // it starts meanwhile
	c.next("one broker still hangs")
	c.awaitAccepted(0, 1)
	c.awaitFinished()
	kafka.goOn(first)
	bothReady()

	c.next("one broker is killed")
	kafka.kill(second)
	c.awaitAccepted(0, 1)
	c.awaitFinished()
	kafka.restart(second)
	bothReady()

	c.next("two brokers of three hang, and a sink")
	kafka.hang(second)
	kafka.hang(third)
	sinks[0].Load().signal(syscall.SIGSTOP)
	bothRefuse()
	c.next("both processes refuse, and earlier calls are still without a reply")
	c.awaitReplies() // which may be that nobody knows
	kafka.goOn(second)
	kafka.goOn(third)
	bothReady()
	c.next("the brokers go on, and the sink still hangs")
	c.askNewcomer(role("ingest"))
	c.awaitAccepted(0, 1)
	c.awaitFinished()
	sinks[0].Load().signal(syscall.SIGCONT)

	c.next("all brokers are killed")
	for n := range brokerCount {
		kafka.kill(n)
	}
	bothRefuse()
	for n := range brokerCount {
		kafka.restart(n)
	}
	bothReady()
	c.next("the brokers are back")
	c.awaitAccepted(0, 1)
	c.awaitFinished()

	c.next("one process of each role is killed")
	for name, s := range map[string]*seat{"ingest": ingests[0], "verify": verifies[0], "sink": sinks[0]} {
		s.Load().Kill()
		take(name, s)
	}
	c.awaitAccepted(0, 1)
	c.awaitFinished()

	c.next("one process of each role hangs")
	all := func(signal syscall.Signal) {
		for _, s := range []*seat{ingests[1], verifies[1], sinks[1]} {
			s.Load().signal(signal)
		}
	}
	all(syscall.SIGSTOP)
	c.awaitAccepted(0)
	c.awaitFinished()
	all(syscall.SIGCONT)
	c.next("all is well again")
	c.awaitAccepted(0, 1)
	c.awaitFinished()
	c.stop()
	bothReady()
	c.settle()
	for i := range 2 {
		for _, s := range []*seat{ingests[i], verifies[i], sinks[i]} {
			s.Load().stop()
		}
	}
}

// signal sends the process a signal.
func (n *node) signal(s syscall.Signal) {
	n.t.Helper()
	must(n.t, syscall.Kill(n.PID(), s))
}
