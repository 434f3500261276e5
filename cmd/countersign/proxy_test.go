package main

// A TCP proxy with a fixed address, for servers that go away and come back elsewhere, or that say nothing for a while.

import (
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"countersign/internal/fdpass"
)

type proxy struct {
	listener net.Listener

	mu     sync.Mutex
	target *url.URL // nil: connections are closed
	seen   url.URL  // the last target
	open   []*relayed
	silent chan struct{} // new connections say nothing until it is closed; nil: they speak
}

// relayed is a client's connection.
type relayed struct {
	net.Conn
	silent chan struct{} // nothing is passed on to the client until it is closed; nil: all is; guarded by proxy.mu
}

// newProxy forwards to the server of a URL until the test ends.
func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{listener: l}
	p.point(t, target)
	t.Cleanup(func() { _ = l.Close(); p.speak(); p.point(t, "") })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.forward(c)
		}
	}()
	return p
}

// url is the target's with the proxy's address, and the name and password of the target that newProxy got.
func (p *proxy) url() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.seen
	q := u.Query()
	q.Del("socket")
	u.Host, u.RawQuery = p.listener.Addr().String(), q.Encode()
	return u.String()
}

// point chooses the server for new connections and cuts the old ones.
func (p *proxy) point(t *testing.T, target string) {
	u, err := url.Parse(target)
	must(t, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.target = nil; target != "" {
		p.target, p.seen = u, *u
	}
	for _, c := range p.open {
		_ = c.Close()
	}
	p.open = nil
}

// stream is a TCP connection that was made or passed.
type stream interface {
	net.Conn
	CloseWrite() error
}

// connect reaches the server as package store does.
func connect(target *url.URL) (stream, error) {
	if socket := target.Query().Get("socket"); socket != "" {
		return fdpass.Dial(context.Background(), socket)
	}
	c, err := net.Dial("tcp", target.Host)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// hush has the server say nothing any more to those who are connected, and with newcomers to those who come, too.
func (p *proxy) hush(newcomers bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	silent := make(chan struct{})
	for _, c := range p.open {
		c.silent = silent
	}
	if newcomers {
		p.silent = silent
	}
}

// speak ends the silence.
func (p *proxy) speak() {
	p.mu.Lock()
	defer p.mu.Unlock()
	ended := make(map[chan struct{}]bool)
	for _, c := range append(p.open, &relayed{silent: p.silent}) {
		if c.silent != nil && !ended[c.silent] {
			ended[c.silent] = true
			close(c.silent)
		}
		c.silent = nil
	}
	p.silent = nil
}

// say passes on what the server says, when it may be heard.
func (p *proxy) say(c *relayed, b []byte) error {
	p.mu.Lock()
	silent := c.silent
	p.mu.Unlock()
	if silent != nil {
		<-silent
	}
	_, err := c.Write(b)
	return err
}

func (p *proxy) forward(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	target, c := p.target, &relayed{client, p.silent}
	p.open = append(p.open, c)
	p.mu.Unlock()
	if target == nil {
		return
	}
	s, err := connect(target)
	if err != nil {
		return
	}
	defer s.Close()
	go func() { _, _ = io.Copy(s, c); _ = s.CloseWrite() }() // the engine doesn't survive a reset
	buffer := make([]byte, 64<<10)
	for {
		n, err := s.Read(buffer)
		if p.say(c, buffer[:n]) != nil || err != nil {
			return
		}
	}
}
