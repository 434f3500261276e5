package server

// Refusals of connections that nobody reads: those that are too many, and those whose turn didn't come. The reply is
// sent at once, and the connection stays for a moment, so that its client can read it: closing at once would make the
// kernel answer what the client sends with a reset. That takes no goroutine.

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"countersign/ingest/problem"
)

const (
	// refusalTime is how long a client may take to read a refusal.
	refusalTime = time.Second
	// maxRefusals is how many connections stay for that at once. A further one ends the time of the oldest.
	maxRefusals = 1024
	// refusalsPerSecond is how many refusals are sent in a second, of some 25 µs each. Further connections are closed
	// without one: whoever comes more often than that doesn't read them.
	refusalsPerSecond = 2048
)

// turnedAway is connections that were refused. It is safe for concurrent use.
type turnedAway struct {
	mu     sync.Mutex
	recent []refusedConn // oldest first; guarded by mu
	timer  *time.Timer   // closes the oldest; nil before it was first needed; guarded by mu
	armed  bool          // timer will fire; guarded by mu
	second time.Time     // when sent began to count; guarded by mu
	sent   int           // refusals since then; guarded by mu
	ended  bool          // guarded by mu
}

type refusedConn struct {
	net.Conn
	at time.Time
}

// refuse sends a reply on a connection that nobody has read from or written to, and closes it in a while. nil: nothing
// can be sent.
func (r *turnedAway) refuse(raw net.Conn, reply []byte) {
	half, ok := raw.(halfCloser)
	if reply == nil || !ok || !r.mayReply() {
		abandon(raw)
		_ = raw.Close()
		return
	}
	// A connection without traffic has room for the reply in its buffer: the write doesn't wait.
	if _, err := raw.Write(reply); err != nil || half.CloseWrite() != nil {
		_ = raw.Close()
		return
	}
	if oldest := r.keep(raw); oldest != nil {
		_ = oldest.Close()
	}
}

func (r *turnedAway) mayReply() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.second) >= time.Second {
		r.second, r.sent = now, 0
	}
	r.sent++
	return r.sent <= refusalsPerSecond
}

// keep remembers a connection to be closed. It returns one that must be closed now; nil: there is none.
func (r *turnedAway) keep(raw net.Conn) (oldest net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return raw
	}
	r.recent = append(r.recent, refusedConn{raw, time.Now()})
	r.arm()
	if len(r.recent) > maxRefusals {
		return r.removeOldest()
	}
	return nil
}

func (r *turnedAway) removeOldest() net.Conn {
	c := r.recent[0].Conn
	r.recent[0].Conn = nil
	if r.recent = r.recent[1:]; len(r.recent) == 0 {
		r.recent = nil // gives the memory back
	}
	return c
}

// arm has the timer fire when the time of the oldest is over.
func (r *turnedAway) arm() {
	if r.armed || len(r.recent) == 0 {
		return
	}
	r.armed = true
	wait := time.Until(r.recent[0].at.Add(refusalTime))
	if r.timer == nil {
		r.timer = time.AfterFunc(wait, r.closeOld)
		return
	}
	r.timer.Reset(wait)
}

func (r *turnedAway) closeOld() {
	var old []net.Conn
	r.mu.Lock()
	r.armed = false
	for now := time.Now(); len(r.recent) > 0 && now.Sub(r.recent[0].at) >= refusalTime; {
		old = append(old, r.removeOldest())
	}
	r.arm()
	r.mu.Unlock()
	for _, c := range old {
		_ = c.Close()
	}
}

// end closes all of them, and those to come at once.
func (r *turnedAway) end() {
	r.mu.Lock()
	r.ended = true
	all := r.recent
	r.recent = nil
	r.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
}

// abandon has the kernel forget a connection at its Close: whether the client hears of that is of no interest.
func abandon(raw net.Conn) {
	if c, ok := raw.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
}

// bareReply is a reply for where there is no request. below is for problem.AppendJSON.
func bareReply(p *problem.Problem, below string) []byte {
	body := p.AppendJSON(nil, below)
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\nServer: countersign\r\nContent-Type: application/problem+json\r\n"+
		"Content-Length: %d\r\nRetry-After: %d\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
		p.Status, http.StatusText(p.Status), len(body), p.RetrySeconds())
	return append([]byte(head), body...)
}
