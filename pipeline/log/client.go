package log

// The client: which cluster, how to log in to it, and the sockets to it. Producers and consumers are made from a
// client.

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// Config says which cluster to use and how to reach it.
type Config struct {
	// Brokers are addresses (host:port) to ask for the cluster's layout, tried in turn. At least one is required.
	Brokers []string
	// Dial opens a connection to a broker: (*embedded.Broker).Dial. nil: TCP. The connection must honour deadlines. If
	// it has a method HungUp() bool, that tells whether the peer has closed it.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS encrypts connections to the brokers. nil: plaintext. An empty ServerName is filled in with the host dialled.
	TLS *tls.Config
	// SASL authenticates connections. The zero value: none.
	SASL SASL
	// Prefix begins the names of topics and groups on the brokers, so that several services can share a cluster.
	// Callers of this package leave it out.
	Prefix string
	// ClientID is how brokers name this process in their logs and quotas.
	ClientID string
	// Flush returns when what the brokers have acknowledged is on disk: (*embedded.Broker).Flush. nil for a cluster,
	// which promises copies on several machines instead.
	Flush func(context.Context) error
	// Broken returns why the embedded broker can't go on, nil while it can: (*embedded.Broker).Err. From then on records
	// fail at once instead of being tried again. nil for a cluster.
	Broken func() error
	// StartTimeout is how long Open and EnsureTopic repeat what brokers can't do now, for instance while the cluster
	// elects leaders. 0: a minute.
	StartTimeout time.Duration
	// Logger gets what an operator should know. nil: slog.Default().
	Logger *slog.Logger
	// Clock stamps records. nil: time.Now.
	Clock func() time.Time
}

func (c Config) withDefaults() Config {
	if c.Dial == nil {
		c.Dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext
	}
	if c.Broken == nil {
		c.Broken = func() error { return nil }
	}
	if c.StartTimeout <= 0 {
		c.StartTimeout = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return c
}

// SASL is how to log in.
type SASL struct {
	Mechanism      string // "" (none), "PLAIN", "SCRAM-SHA-256" or "SCRAM-SHA-512"
	User, Password string
}

func (s SASL) mechanism() (sasl.Mechanism, error) {
	switch s.Mechanism {
	case "":
		return nil, nil
	case "PLAIN":
		return plain.Mechanism{Username: s.User, Password: s.Password}, nil
	case "SCRAM-SHA-256":
		return scram.Mechanism(scram.SHA256, s.User, s.Password)
	case "SCRAM-SHA-512":
		return scram.Mechanism(scram.SHA512, s.User, s.Password)
	}
	return nil, fmt.Errorf("kafka: SASL mechanism %q is unknown: use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
		s.Mechanism)
}

// Client is a connection to a cluster, or to the embedded broker. It is safe for concurrent use. Producers and
// consumers made from a client must be stopped before the client is closed.
type Client struct {
	cfg    Config
	sasl   sasl.Mechanism
	logger *slog.Logger
	// The brokers are reached by Config.Dial, whatever their addresses are.
	inProcess bool

	admins admins // layout, topics, offsets; what carries records uses leaderConn

	preferred atomic.Int32 // index of the broker that answered last

	mu      sync.Mutex
	conns   map[*conn]struct{} // every open socket; guarded by mu
	ensured map[string]int     // topics that Check looks at, and the in-sync replicas that each demands; guarded by mu
	closed  bool               // guarded by mu
}

// Open checks that a broker answers and returns a client. It asks all configured brokers at once, and repeats that for
// Config.StartTimeout while their answers may change; it ends sooner where something else than Kafka, or another kind of
// listener, is at the addresses. An error is ErrUnavailable, and says what was expected, what was found, and what to do,
// unless cfg itself is wrong. ctx bounds the call alone.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	return open(ctx, cfg, cfg.Dial != nil)
}

func open(ctx context.Context, cfg Config, inProcess bool) (*Client, error) {
	if len(cfg.Brokers) == 0 {
		return nil, errors.New("kafka: no broker address given: name at least one host:port")
	}
	mechanism, err := cfg.SASL.mechanism()
	if err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	c := &Client{
		inProcess: inProcess, cfg: cfg, sasl: mechanism, logger: cfg.Logger, conns: map[*conn]struct{}{}, ensured: map[string]int{},
	}
	c.admins = c.newAdmins()
	wait := c.startWait("Kafka at " + strings.Join(cfg.Brokers, ", "))
	wait.Explain = c.explain
	if err := wait.Do(ctx, c.probeAny); err != nil {
		c.Close()
		return nil, fmt.Errorf("%w: no broker answers at %s; %w", ErrUnavailable, strings.Join(cfg.Brokers, ", "), err)
	}
	return c, nil
}

// probeAny asks the configured brokers, until one answers and names a broker that can be reached.
func (c *Client) probeAny(ctx context.Context) error {
	type answered struct {
		by      string
		brokers []kafka.Broker
	}
	a, err := askAny(ctx, c, func(ctx context.Context, broker int) (answered, error) {
		address := c.cfg.Brokers[broker]
		brokers, err := c.brokersAt(ctx, address)
		return answered{address, brokers}, err
	})
	if err != nil {
		return err
	}
	return c.checkAdvertised(ctx, a.by, a.brokers)
}

// probeOne asks one broker for a sign of life.
func (c *Client) probeOne(ctx context.Context, address string) error {
	_, err := c.brokersAt(ctx, address)
	return err
}

// brokersAt asks one broker which brokers there are, at the addresses that they advertise.
func (c *Client) brokersAt(ctx context.Context, address string) ([]kafka.Broker, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	kc, err := c.dialer().DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer kc.Close()
	deadline, _ := ctx.Deadline()
	if err := kc.SetDeadline(deadline); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { kc.Close() })
	defer stop()
	return kc.Brokers()
}

// Close closes every connection. Calls in progress fail. It may be called more than once and returns nil.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	open := make([]*conn, 0, len(c.conns))
	for nc := range c.conns {
		open = append(open, nc)
	}
	c.mu.Unlock()
	for _, a := range c.admins {
		closeAdmin(a)
	}
	for _, nc := range open {
		nc.Close()
	}
	return nil
}
