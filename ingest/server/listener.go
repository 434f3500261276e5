package server

// The listener makes the server's connections, and refuses those that are too many.

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"countersign/ingest/problem"
)

// A connection beyond the limit takes no worker, only a goroutine that waits until its client has read the refusal, for
// refusalTime at most. Beyond maxRefusals of them connections are closed at once.
const (
	maxRefusals = 64
	refusalTime = time.Second
)

type listener struct {
	net.Listener
	server  *Server
	tls     *tls.Config // nil: plain
	refusal []byte      // the reply to connections beyond the limit, as sent
	tooMany *problem.Problem

	refusals sync.WaitGroup // goroutines that wait until a refusal was read
	places   chan struct{}  // a token for each of them; capacity maxRefusals
}

func newListener(l net.Listener, s *Server) *listener {
	tooMany := problem.TooManyConnections(s.cfg.MaxConnections)
	own := &listener{
		Listener: l, server: s, tooMany: tooMany, refusal: bareReply(tooMany), places: make(chan struct{}, maxRefusals),
	}
	if s.keys != nil {
		own.tls = s.keys.config()
	}
	return own
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		place, err := l.server.cfg.Admission.Connections.Open(addressOf(raw), func() { _ = raw.Close() })
		if err != nil {
			l.refuse(raw)
			continue
		}
		c := conn{Conn: raw, raw: raw, closing: &l.server.closing, place: place}
		if l.tls == nil {
			return &c, nil
		}
		t := tls.Server(raw, l.tls)
		c.Conn = t
		return &tlsConn{conn: &c, tls: t}, nil
	}
}

// addressOf returns the address of a connection's client; the zero Addr where it has none.
func addressOf(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr()
	}
	return netip.Addr{}
}

// refuse answers a connection that is one too many. With TLS it would take a handshake to say anything.
func (l *listener) refuse(raw net.Conn) {
	l.server.metrics.problem(l.tooMany)
	half, ok := raw.(halfCloser)
	// A new connection has room for the refusal in its buffer: the write doesn't wait.
	if l.tls != nil || !ok || raw.SetDeadline(time.Now().Add(refusalTime)) != nil {
		_ = raw.Close()
		return
	}
	if _, err := raw.Write(l.refusal); err != nil || half.CloseWrite() != nil {
		_ = raw.Close()
		return
	}
	select {
	case l.places <- struct{}{}:
	default:
		_ = raw.Close()
		return
	}
	l.refusals.Go(func() {
		defer func() { <-l.places }()
		_, _ = io.CopyN(io.Discard, raw, l.server.cfg.LingerBytes)
		_ = raw.Close()
	})
}

// bareReply is a reply for where there is no request.
func bareReply(p *problem.Problem) []byte {
	body := p.AppendJSON(nil)
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\nServer: countersign\r\nContent-Type: application/problem+json\r\n"+
		"Content-Length: %d\r\nRetry-After: %d\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
		p.Status, http.StatusText(p.Status), len(body), p.RetrySeconds())
	return append([]byte(head), body...)
}
