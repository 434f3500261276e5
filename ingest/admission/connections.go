package admission

// Connections: places that are given at once or not at all, because whoever accepts connections can't wait. When all
// are taken, a newcomer gets the connection of a client that has more of them than its own, or as many and has not used
// it for a while: one on which no request is under way. So thousands of idle connections don't keep anybody out.

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// candidates is how many connections are compared when one must go. With so many, one is of a client that holds a tenth
// of all with a probability of 81 %, of one that holds half of them with 99.998 %.
const candidates = 16

// restTime is after which a connection without a request may go to a client that holds as many.
const restTime = time.Second

// Connections is a fixed number of connections. It is safe for concurrent use.
type Connections struct {
	most    int
	proxies Proxies
	clock   func() time.Time
	counts  gateCounts

	mu     sync.Mutex
	random *rand.Rand     // guarded by mu
	open   int            // guarded by mu
	held   map[Client]int // guarded by mu
	idle   []*Connection  // those that may be hung up, in no order; guarded by mu
}

// Connection is one of them. Its fields are guarded by the set's mu.
type Connection struct {
	set    *Connections
	client Client
	hangUp func()
	exempt bool // it belongs to a trusted proxy, and is never hung up
	closed bool
	place  int // in idle; -1: not there
	since  time.Time
}

func newConnections(cfg *Config, m *metrics) (*Connections, error) {
	var seed [16]byte
	if _, err := io.ReadFull(cfg.Random, seed[:]); err != nil {
		return nil, fmt.Errorf("admission: read a seed: %w", err)
	}
	return &Connections{
		most: cfg.MaxConnections, proxies: cfg.TrustedProxies, clock: cfg.Clock, counts: m.gate(nameConnections),
		random: rand.New(rand.NewPCG(binary.LittleEndian.Uint64(seed[:8]), binary.LittleEndian.Uint64(seed[8:]))),
		held:   make(map[Client]int),
	}, nil
}

// Open registers a new connection, idle at first. hangUp is called at most once, from any goroutine, and must close the
// connection at once; the Connection is then closed already. The error is a *Refusal. Connections of trusted proxies
// stand for many clients: they are not counted against each other, and not hung up.
func (c *Connections) Open(peer netip.Addr, hangUp func()) (*Connection, error) {
	n := &Connection{set: c, client: ClientOf(peer), hangUp: hangUp, exempt: c.proxies.Trust(peer), place: -1, since: c.clock()}
	gone, refusal := c.admit(n)
	if refusal != nil {
		c.counts.refused(refusal)
		return nil, refusal
	}
	c.counts.granted.Inc()
	if gone != nil {
		c.counts.recalled.Inc()
		gone.hangUp()
	}
	return n, nil
}

// admit counts n, in the place of the connection it returns if all places are taken.
func (c *Connections) admit(n *Connection) (gone *Connection, refusal *Refusal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open >= c.most {
		if gone = c.choose(n); gone == nil {
			return nil, &Refusal{Of: nameConnections, Reason: Full, Limit: int64(c.most), RetryAfter: retryPlace}
		}
		c.remove(gone)
	}
	c.open++
	c.held[n.client]++
	c.addIdle(n)
	return gone, nil
}

// choose returns the connection that makes room for n: of some idle ones, that of the client that holds most, and there
// the one that was idle longest. It returns nil when n's client holds more than any of them, or as many as a client
// that is idle only since a moment ago.
func (c *Connections) choose(n *Connection) *Connection {
	var best *Connection
	for range min(candidates, len(c.idle)) {
		o := c.idle[c.random.IntN(len(c.idle))]
		has, wants := c.held[o.client], c.held[n.client]
		if !n.exempt && (o.client == n.client || has < wants || has == wants && n.since.Sub(o.since) < restTime) {
			continue
		}
		if best == nil || c.held[o.client] > c.held[best.client] || o.client == best.client && o.since.Before(best.since) {
			best = o
		}
	}
	return best
}

func (c *Connections) addIdle(n *Connection) {
	if n.closed || n.exempt || n.place >= 0 {
		return
	}
	n.place, n.since = len(c.idle), c.clock()
	c.idle = append(c.idle, n)
}

func (c *Connections) removeIdle(n *Connection) {
	if n.place < 0 {
		return
	}
	last := c.idle[len(c.idle)-1]
	c.idle[n.place], last.place = last, n.place
	c.idle[len(c.idle)-1] = nil
	c.idle = c.idle[:len(c.idle)-1]
	n.place = -1
}

func (c *Connections) remove(n *Connection) {
	if n.closed {
		return
	}
	n.closed = true
	c.removeIdle(n)
	c.open--
	if c.held[n.client]--; c.held[n.client] == 0 {
		delete(c.held, n.client)
	}
}

// Exempt reports whether the connection belongs to a trusted proxy, which stands for many clients.
func (n *Connection) Exempt() bool { return n.exempt }

// Busy says that a request is being served: the connection isn't hung up until Idle.
func (n *Connection) Busy() {
	n.set.mu.Lock()
	defer n.set.mu.Unlock()
	n.set.removeIdle(n)
}

// Idle says that no request is being served: the connection waits for one, or for its client to read a refusal.
func (n *Connection) Idle() {
	n.set.mu.Lock()
	defer n.set.mu.Unlock()
	n.set.addIdle(n)
}

// Close gives the place back. It may be called more than once, and after the connection was hung up.
func (n *Connection) Close() {
	n.set.mu.Lock()
	defer n.set.mu.Unlock()
	n.set.remove(n)
}

// count returns how many are open, and how many of them one client holds at most.
func (c *Connections) count() (open, largest int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.held {
		largest = max(largest, n)
	}
	return c.open, largest
}
