package main

// A TCP proxy with a fixed address, for servers that go away and come back elsewhere.

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

type proxy struct {
	listener net.Listener
	rest     string // of the URL, after the host

	mu     sync.Mutex
	target string // empty: connections are closed
	open   []net.Conn
}

// newProxy forwards to the server of a URL until the test ends.
func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{listener: l}
	p.point(target)
	t.Cleanup(func() { _ = l.Close(); p.point("") })
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

// url is the target's with the proxy's address.
func (p *proxy) url() string { return "clickhouse://" + p.listener.Addr().String() + p.rest }

// point chooses the server for new connections and cuts the old ones.
func (p *proxy) point(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = ""
	if u, err := url.Parse(target); err == nil && target != "" {
		p.target = u.Host
		p.rest = u.Path
		if u.RawQuery != "" {
			p.rest += "?" + u.RawQuery
		}
	}
	for _, c := range p.open {
		_ = c.Close()
	}
	p.open = nil
}

func (p *proxy) forward(c net.Conn) {
	defer c.Close()
	p.mu.Lock()
	target := p.target
	p.open = append(p.open, c)
	p.mu.Unlock()
	if target == "" {
		return
	}
	s, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer s.Close()
	go func() { _, _ = io.Copy(s, c); _ = s.Close() }()
	_, _ = io.Copy(c, s)
}
