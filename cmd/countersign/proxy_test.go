package main

// A TCP proxy with a fixed address, for servers that go away and come back elsewhere.

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
	open   []net.Conn
}

// newProxy forwards to the server of a URL until the test ends.
func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{listener: l}
	p.point(t, target)
	t.Cleanup(func() { _ = l.Close(); p.point(t, "") })
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

func (p *proxy) forward(c net.Conn) {
	defer c.Close()
	p.mu.Lock()
	target := p.target
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
	_, _ = io.Copy(c, s)
}
