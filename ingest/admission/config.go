package admission

// Every bound of admission, in one place.

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is the manual of an [Admission]. Zero values mean the default that each field states.
type Config struct {
	// TrustedProxies are the peers whose X-Forwarded-For or Forwarded says who the client is. Default: none.
	TrustedProxies Proxies

	// MaxUploads is the most bodies open at a time. Each takes less than 4 MB, and a zstd body 8 MiB more. Default 64.
	MaxUploads int
	// MaxCalls is the most synchronous calls open at a time. Each takes a goroutine and some KiB. Default 1024.
	MaxCalls int
	// MaxChecks is the most lists of hashes that are asked about at a time. Each takes some 400 KiB, and its reply has a
	// place by its size. Default 64.
	MaxChecks int
	// Replies says how many replies of which size may be in flight, by rising size. Default: usualReplies.
	Replies []ReplySize
	// MaxConnections is the most connections open at a time. Each takes some 24 KiB. Default 8192.
	MaxConnections int
	// MaxBacklog is how many records may wait to be verified and stored. Half of it is where the shares of the Ledger
	// begin to bind. Default 20,000.
	MaxBacklog int64

	// MaxWait is how long a request waits for a place before it is refused. It is longer than RecallAfter, so that a
	// client below its share isn't refused because another one is over its own. Default 1 s.
	MaxWait time.Duration
	// MaxWaiting is how many requests wait for places of one kind. Each holds its connection. A newcomer for whom there
	// is no room takes the room of a waiter that would come after it, if there is one. Default 1024.
	MaxWaiting int
	// RecallAfter is how long a client below its share waits for a place of one above its share. Then the youngest
	// place of the client that holds most is taken back, however quick it is. It is longer than BodyGrace, so that slow
	// bodies go first. Default 500 ms.
	RecallAfter time.Duration
	// StruckTime is how long a client waits behind others that hold as many places as it does, after it lost a place to
	// slowness or asked for more than its share while others waited. After slowness its next places also have only a
	// quarter of the grace. It is long enough to cover the retries of a client that comes again at once. Default 10 s.
	StruckTime time.Duration
	// ReviewInterval is how often a Gate looks for places to take back, while somebody waits or more than half of its
	// places are taken. It adds to the time that a waiter waits. Default 25 ms.
	ReviewInterval time.Duration

	// MinBodyRate is the least bytes a second that a body must bring, not counting the time in which the service itself
	// is busy with it. It binds while somebody with fewer places waits, and while more than half of MaxUploads are
	// taken by several clients. A modem of 1998 brings 7 KiB/s, a poor mobile connection 50. Negative: no least rate.
	// Default 16 KiB/s.
	MinBodyRate int64
	// BodyGrace is how much a new body may fall behind MinBodyRate: its first bytes may take a round trip after a
	// "100 Continue", some 300 ms from the other side of the world. Default 300 ms.
	BodyGrace time.Duration
	// BodyCredit is how far ahead of MinBodyRate a body may get. So a quick one may pause that long, for a lost packet
	// or two. It is shorter than MaxWait, so that who waits for the place still gets it. Default 600 ms.
	BodyCredit time.Duration
	// BodyPatience is how much longer than its allowance a body may be slow when nobody waits for its place, but more
	// than half of the places are taken. Default 5 s.
	BodyPatience time.Duration
	// CallGrace is how long a synchronous call waits for its result before its place may go to a client with fewer.
	// Results take some milliseconds, and with a certificate that must be fetched some hundred. It is shorter than
	// MaxWait, so that who waits for the place still gets it. Default 750 ms.
	CallGrace time.Duration

	// UnfoldSlack and UnfoldFactor bound what a compressed body may unfold to: UnfoldSlack bytes and UnfoldFactor times
	// the bytes received so far. Hashes and signatures are random: by gzip -9, 20,000 pairs unfold to 1.3 (RSA-2048) to
	// 3.4 times what was sent (P-256, indented by 40), and to 10 times with one signature for all. Defaults 4 KiB, 20.
	UnfoldSlack  int64
	UnfoldFactor int64

	// UndecidedTime is how long the Ledger counts an upload that no event says is done: afterwards it is taken for
	// decided, because every upload is within 30 s, and events may be missed. Default 2 min.
	UndecidedTime time.Duration
	// MinUndecided is the least share of undecided records, which is one upload of 30,000 pairs. Default 32.
	MinUndecided int64

	// MinArrivals is how many new connections a second are read while several clients connect and the processors are
	// full, and how many of clients that were struck. A connection that is refused costs some 0.15 ms with its head.
	// Default: 50 a processor.
	MinArrivals int
	// MinRequests is the same for requests, on connections new and old. Default: 200 a processor.
	MinRequests int
	// MaxTurnWait is how long a connection or a request waits for its turn. Afterwards it is
	// refused. Default 8 s.
	MaxTurnWait time.Duration
	// MaxDelay is the delay of goroutines (see Delay) from which on fewer turns are given. Default 2 ms.
	MaxDelay time.Duration
	// RecentTime is how long a client counts as there after it connected or asked for something. Default 10 s.
	RecentTime time.Duration
	// Delay makes a function that says how long goroutines wait for a processor: nine of ten waited less, since the
	// function's last call. Default: what Go's scheduler measures.
	Delay func() func() time.Duration

	// Clock measures all of this. Default: time.Now.
	Clock func() time.Time
	// Random gives a seed for the choice of connections that are compared when one must go; New reads 16 bytes of it.
	// Default: crypto/rand.Reader.
	Random io.Reader
	// Registerer gets the metrics. nil: not registered.
	Registerer prometheus.Registerer
}

// withDefaults returns c filled in, or every problem it has.
func (c Config) withDefaults() (Config, error) {
	orDefault(&c.MaxUploads, 64)
	orDefault(&c.MaxCalls, 1024)
	orDefault(&c.MaxChecks, 64)
	orDefault(&c.MaxConnections, 8192)
	orDefault(&c.MaxBacklog, 20_000)
	orDefault(&c.MaxWaiting, 1024)
	orDefault(&c.MaxWait, time.Second)
	orDefault(&c.RecallAfter, 500*time.Millisecond)
	orDefault(&c.StruckTime, 10*time.Second)
	orDefault(&c.ReviewInterval, 25*time.Millisecond)
	orDefault(&c.MinBodyRate, 16<<10)
	orDefault(&c.BodyGrace, 300*time.Millisecond)
	orDefault(&c.BodyCredit, 600*time.Millisecond)
	orDefault(&c.BodyPatience, 5*time.Second)
	orDefault(&c.CallGrace, 750*time.Millisecond)
	orDefault(&c.UnfoldSlack, 4<<10)
	orDefault(&c.UnfoldFactor, 20)
	orDefault(&c.UndecidedTime, 2*time.Minute)
	orDefault(&c.MinUndecided, 32)
	if len(c.Replies) == 0 {
		c.Replies = usualReplies
	}
	orDefault(&c.MinArrivals, 50*runtime.GOMAXPROCS(0))
	orDefault(&c.MinRequests, 200*runtime.GOMAXPROCS(0))
	orDefault(&c.MaxTurnWait, 8*time.Second)
	orDefault(&c.MaxDelay, 2*time.Millisecond)
	orDefault(&c.RecentTime, 10*time.Second)
	if c.Delay == nil {
		c.Delay = processorDelay
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	return c, c.check()
}

func (c *Config) check() error {
	var errs []error
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"MaxUploads", int64(c.MaxUploads)}, {"MaxCalls", int64(c.MaxCalls)}, {"MaxChecks", int64(c.MaxChecks)},
		{"MaxConnections", int64(c.MaxConnections)},
		{"MaxBacklog", c.MaxBacklog}, {"MaxWaiting", int64(c.MaxWaiting)}, {"MaxWait", int64(c.MaxWait)},
		{"RecallAfter", int64(c.RecallAfter)}, {"StruckTime", int64(c.StruckTime)}, {"ReviewInterval", int64(c.ReviewInterval)},
		{"BodyGrace", int64(c.BodyGrace)}, {"BodyCredit", int64(c.BodyCredit)}, {"BodyPatience", int64(c.BodyPatience)},
		{"CallGrace", int64(c.CallGrace)}, {"UnfoldSlack", c.UnfoldSlack}, {"UnfoldFactor", c.UnfoldFactor},
		{"UndecidedTime", int64(c.UndecidedTime)}, {"MinUndecided", c.MinUndecided},
		{"MinArrivals", int64(c.MinArrivals)}, {"MinRequests", int64(c.MinRequests)}, {"MaxTurnWait", int64(c.MaxTurnWait)},
		{"MaxDelay", int64(c.MaxDelay)}, {"RecentTime", int64(c.RecentTime)},
	} {
		if n.value < 0 {
			errs = append(errs, fmt.Errorf("admission: %s is negative: leave it out for the default", n.name))
		}
	}
	return errors.Join(errs...)
}

func orDefault[T ~int | ~int64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Admission is all of it together. Its parts may be used by any number of goroutines.
type Admission struct {
	// Uploads has a place for each open body.
	Uploads *Gate
	// Calls has a place for each synchronous call.
	Calls *Gate
	// Checks has a place for each list of hashes that is asked about.
	Checks *Gate
	// Replies has places for replies in flight that name every pair of a call.
	Replies *Replies
	// Connections has a place for each connection.
	Connections *Connections
	// Arrivals has a turn for each new connection, before anything of it is read.
	Arrivals *Pace
	// Requests has a turn for each request, before anything is done for it.
	Requests *Pace
	// Ledger counts what is accepted and undecided.
	Ledger *Ledger

	cfg Config
}

// ClientOf returns the client of a request that came over a connection from remote. head is asked for only where it
// counts.
func (a *Admission) ClientOf(remote netip.Addr, head func() Forwarding) Client {
	if !a.cfg.TrustedProxies.Trust(remote) {
		return ClientOf(remote)
	}
	return a.cfg.TrustedProxies.ClientOf(remote, head())
}

// MinBodyRate is Config.MinBodyRate.
func (a *Admission) MinBodyRate() int64 { return a.cfg.MinBodyRate }

// New checks the configuration, every problem at once, and registers the metrics.
func New(c Config) (*Admission, error) {
	cfg, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	m := newMetrics()
	a := &Admission{cfg: cfg}
	bodies, checks := newGate(nameUploads, cfg.MaxUploads, &cfg, m), newGate(nameChecks, cfg.MaxChecks, &cfg, m)
	for _, g := range []*Gate{bodies, checks} {
		g.grace = cfg.BodyGrace
		if cfg.MinBodyRate > 0 {
			g.perByte = max(time.Second/time.Duration(cfg.MinBodyRate), 1)
		} else {
			g.grace = never
		}
	}
	calls := newGate(nameCalls, cfg.MaxCalls, &cfg, m)
	calls.grace, calls.byDomain = cfg.CallGrace, true
	a.Uploads, a.Calls, a.Checks, a.Replies = bodies, calls, checks, newReplies(&cfg, m)
	o := &others{recent: cfg.RecentTime}
	a.Arrivals = newPace(nameArrivals, cfg.MinArrivals, &cfg, o, m)
	a.Arrivals.newestFirst = true
	a.Requests = newPace(nameRequests, cfg.MinRequests, &cfg, o, m)
	for _, g := range []*Gate{bodies, calls, checks} {
		g.struckToo = []*Pace{a.Arrivals, a.Requests}
	}
	if a.Connections, err = newConnections(&cfg, m); err != nil {
		return nil, err
	}
	a.Ledger = newLedger(&cfg, m)
	return a, m.register(cfg.Registerer, a)
}
