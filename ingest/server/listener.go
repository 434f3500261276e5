package server

// The listener makes the server's connections. Those that are too many are refused, and those whose clients have no
// turn yet wait as they are: a socket that nobody reads, without a goroutine.

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"countersign/ingest/admission"
	"countersign/ingest/problem"
)

// acceptPause is how long no connection is accepted after the system had no descriptor or memory for one.
const acceptPause = 50 * time.Millisecond

type listener struct {
	net.Listener
	server    *Server
	tls       *tls.Config // nil: plain
	tooMany   *refusal
	noTurn    *refusal
	refused   turnedAway
	accepting sync.WaitGroup // until the inner listener is closed

	mu      sync.Mutex
	changed *sync.Cond                // its lock is mu
	waiting map[*conn]*admission.Turn // connections that wait for their turn; guarded by mu
	turned  []net.Conn                // those whose turn has come, in that order; guarded by mu
	ended   error                     // why no more come; nil: they do; guarded by mu
}

// newListener begins to accept connections from l. Close ends that.
func newListener(l net.Listener, s *Server) *listener {
	own := &listener{Listener: l, server: s, waiting: make(map[*conn]*admission.Turn)}
	own.changed = sync.NewCond(&own.mu)
	if s.keys != nil {
		own.tls = s.keys.config()
	}
	own.tooMany = own.refusal(problem.TooManyConnections(s.cfg.MaxConnections))
	own.noTurn = own.refusal(problem.TooManyAtOnce(time.Second))
	own.accepting.Go(own.acceptAll)
	return own
}

// Accept returns the next connection whose turn has come.
func (l *listener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.turned) == 0 {
		if l.ended != nil {
			return nil, l.ended
		}
		l.changed.Wait()
	}
	c := l.turned[0]
	l.turned[0] = nil
	if l.turned = l.turned[1:]; len(l.turned) == 0 {
		l.turned = nil // gives the memory back
	}
	return c, nil
}

// Close ends the accepting, and closes the connections that nobody has read yet.
func (l *listener) Close() error {
	err := l.Listener.Close()
	l.accepting.Wait()
	return err
}

// acceptAll accepts until the inner listener is closed or fails.
func (l *listener) acceptAll() {
	for {
		raw, err := l.Listener.Accept()
		switch {
		case err == nil:
			l.admit(raw)
		case isShortage(err):
			l.server.cfg.Logger.Error("no connection can be accepted for a moment", "error", err)
			time.Sleep(acceptPause)
		default:
			l.end(err)
			return
		}
	}
}

// isShortage reports whether an error of Accept says that the system has no room for a connection now, or that a client
// went away before it was accepted.
func isShortage(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (l *listener) end(err error) {
	l.mu.Lock()
	l.ended = err
	waiting, turned := l.waiting, l.turned
	l.waiting, l.turned = nil, nil
	l.changed.Broadcast()
	l.mu.Unlock()
	for c, turn := range waiting {
		if turn != nil {
			turn.Cancel()
		}
		_ = c.Close()
	}
	for _, c := range turned {
		_ = c.Close()
	}
	l.refused.end()
}

// admit finds a place for a connection, and has it wait for its turn.
func (l *listener) admit(raw net.Conn) {
	peer := addressOf(raw)
	c := &conn{Conn: raw, raw: raw, closing: &l.server.closing, hungUp: make(chan struct{})}
	var err error
	if c.place, err = l.server.cfg.Admission.Connections.Open(peer, func() { l.hangUp(c) }); err != nil {
		l.refuse(raw, l.tooMany)
		return
	}
	if c.place.Exempt() {
		l.hand(c)
		return
	}
	l.mu.Lock()
	l.waiting[c] = nil
	l.mu.Unlock()
	turn := l.server.cfg.Admission.Arrivals.Ask(admission.ClientOf(peer), func(granted bool) { l.turn(c, granted) })
	if turn == nil {
		l.turn(c, true)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, still := l.waiting[c]; still {
		l.waiting[c] = turn
	}
}

// turn hands on a connection whose turn has come, and refuses one whose hasn't in time. A connection that was hung up
// meanwhile is neither.
func (l *listener) turn(c *conn, granted bool) {
	l.mu.Lock()
	_, still := l.waiting[c]
	delete(l.waiting, c)
	l.mu.Unlock()
	switch {
	case !still:
	case granted:
		l.hand(c)
	default:
		c.place.Close()
		l.refuse(c.raw, l.noTurn)
	}
}

// refusal is why a connection is refused that nobody reads.
type refusal struct {
	problem *problem.Problem
	reply   []byte // as sent; nil: with TLS it would take a handshake to say anything
}

func (l *listener) refusal(p *problem.Problem) *refusal {
	if l.tls != nil {
		return &refusal{problem: p}
	}
	return &refusal{p, bareReply(p, l.server.below)}
}

func (l *listener) refuse(raw net.Conn, why *refusal) {
	l.server.metrics.problem(why.problem)
	l.refused.refuse(raw, why.reply)
}

// hand gives a connection to Accept.
func (l *listener) hand(c *conn) {
	var ready net.Conn = c
	if l.tls != nil {
		t := tls.Server(c.raw, l.tls)
		c.Conn = t
		ready = &tlsConn{conn: c, tls: t}
	}
	l.mu.Lock()
	if l.ended == nil {
		l.turned = append(l.turned, ready)
		l.changed.Signal()
		ready = nil
	}
	l.mu.Unlock()
	if ready != nil {
		_ = ready.Close()
	}
}

// hangUp closes a connection for another one.
func (l *listener) hangUp(c *conn) {
	_ = c.raw.Close()
	close(c.hungUp)
	l.mu.Lock()
	turn := l.waiting[c]
	delete(l.waiting, c)
	l.mu.Unlock()
	if turn != nil {
		turn.Cancel()
	}
}

// addressOf returns the address of a connection's client; the zero Addr where it has none.
func addressOf(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr()
	}
	return netip.Addr{}
}
