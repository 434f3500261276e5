package log_test

// Clusters of which a part hangs: it accepts connections and says nothing.

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"countersign/pipeline/log"
	"countersign/pipeline/log/internal/logtest"
)

// network dials TCP, except to addresses that hang or refuse.
type network struct {
	mu     sync.Mutex
	hung   map[string]bool // guarded by mu
	gone   map[string]bool // guarded by mu
	served []net.Conn      // other ends of connections to who hangs; guarded by mu
	open   []net.Conn      // connections to who doesn't; guarded by mu
	frozen bool            // everybody hangs up and refuses; guarded by mu
}

// freeze cuts every connection off, and refuses new ones until thaw.
func (n *network) freeze() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.frozen = true
	for _, c := range n.open {
		c.Close()
	}
}

func (n *network) thaw() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.frozen = false
}

func newNetwork(t *testing.T) *network {
	n := &network{hung: map[string]bool{}, gone: map[string]bool{}}
	t.Cleanup(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, c := range n.served {
			c.Close()
		}
	})
	return n
}

func (n *network) set(which map[string]bool, address string, is bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	which[address] = is
}

func (n *network) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.frozen || n.gone[address] {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused")}
	}
	if n.hung[address] {
		c, served := net.Pipe()
		n.served = append(n.served, served)
		return c, nil
	}
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		n.open = append(n.open, c)
	}
	return c, err
}

// Whichever broker of three hangs, a process starts.
func TestStartWhileOneBrokerHangs(t *testing.T) {
	t.Parallel()
	brokers := startCluster3(t)
	topic := logtest.NewTopic(t, logtest.Open(t, log.Config{Brokers: brokers}), 3)
	for _, hung := range brokers {
		n := newNetwork(t)
		n.set(n.hung, hung, true)
		c := logtest.Open(t, log.Config{Brokers: brokers, Dial: n.dial})
		got, err := c.EnsureTopic(logtest.Context(t), log.TopicSpec{Name: topic, Partitions: 1})
		if err != nil || got != 3 {
			t.Errorf("%d partitions, %v", got, err)
		}
	}
	// Two of three addresses hang, and the topic must be made.
	one, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(one.Close)
	n := newNetwork(t)
	n.set(n.hung, "hung:1", true)
	n.set(n.hung, "hung:2", true)
	c := logtest.Open(t, log.Config{Brokers: append([]string{"hung:1", "hung:2"}, one.ListenAddrs()...), Dial: n.dial})
	logtest.NewTopic(t, c, 2)
}

// A topic whose leaders are being elected is waited for, and what is waited for is logged.
func TestStartWhileLeadersAreElected(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	cfg := log.Config{Brokers: cluster.ListenAddrs()}
	topic := logtest.NewTopic(t, logtest.Open(t, cfg), 1)
	waiting := make(chan struct{}, 1)
	cfg.Logger = signalOn("waiting", waiting)
	c := logtest.Open(t, cfg)
	elected := make(chan struct{})
	cluster.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		select {
		case <-elected:
			return nil, nil, false
		default:
		}
		cluster.KeepControl()
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		for _, wanted := range req.(*kmsg.MetadataRequest).Topics {
			t := kmsg.NewMetadataResponseTopic()
			t.Topic, t.ErrorCode = wanted.Topic, kerr.LeaderNotAvailable.Code
			resp.Topics = append(resp.Topics, t)
		}
		return resp, nil, true
	})
	ensured := make(chan error, 1)
	go func() {
		_, err := c.EnsureTopic(logtest.Context(t), log.TopicSpec{Name: topic, Partitions: 1})
		ensured <- err
	}()
	logtest.Receive(t, waiting, "log line")
	close(elected)
	if err := logtest.Receive(t, ensured, "topic"); err != nil {
		t.Error(err)
	}
}

// Check says what is wrong while it is, and within its limit.
func TestCheck(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	brokers := cluster.ListenAddrs()
	n := newNetwork(t)
	c := logtest.Open(t, log.Config{Brokers: brokers, Dial: n.dial})
	topic := logtest.NewTopic(t, c, len(brokers))
	for node := range int32(len(brokers)) { // each leads a partition
		if err := cluster.MoveTopicPartition(topic, node, node); err != nil {
			t.Fatal(err)
		}
	}
	ctx := logtest.Context(t)
	good := func(when string) {
		t.Helper()
		if err := c.Check(ctx); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	bad := func(when, want string) {
		t.Helper()
		begun := time.Now()
		err := c.Check(ctx)
		if !errors.Is(err, log.ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", when, err, want)
		}
		if took := time.Since(begun); took > logtest.Limit/2 {
			t.Errorf("%s: it took %s", when, took)
		}
	}
	good("at first")
	for _, b := range brokers {
		n.set(n.hung, b, true)
		bad("one hangs", "is led by "+b)
		n.set(n.hung, b, false)
		good("none hangs")
		n.set(n.gone, b, true)
		bad("one is gone", "is led by "+b)
		n.set(n.gone, b, false)
	}
	for _, b := range brokers {
		n.set(n.hung, b, true)
	}
	bad("all hang", "no broker says")
	for _, b := range brokers {
		n.set(n.gone, b, true)
	}
	bad("all are gone", "no broker says")
	for _, b := range brokers {
		n.set(n.hung, b, false)
		n.set(n.gone, b, false)
	}
	good("all are back")
	if err := c.CheckNeeding(ctx, topic, 4); err == nil || !strings.Contains(err.Error(), "needs 4") {
		t.Errorf("with too few in-sync replicas: %v", err)
	}
}
