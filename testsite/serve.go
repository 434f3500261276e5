package testsite

// A served site is an accept loop that finishes TLS handshakes and hangs up:
// whoever wants a site's certificate needs no more than that.

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// usualHandshakeTimeout is [Site.handshakeTimeout] where no test has changed it.
const usualHandshakeTimeout = 10 * time.Second

// Serve starts to serve the site's current certificates on a port of
// 127.0.0.1, and returns host:port. The port is any free one the first time and
// the same again after Close, so that a site can go away and come back.
// Serving twice is an error.
func (s *Site) Serve() (address string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		return "", fmt.Errorf("serving %s: it is served already on %s", s.Name, s.address)
	}
	wanted := s.address
	if wanted == "" {
		wanted = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", wanted)
	if err != nil {
		return "", fmt.Errorf("serving %s: %w", s.Name, err)
	}
	s.address = listener.Addr().String()
	s.server = startServer(s, listener)
	return s.address, nil
}

// Close stops serving and waits for the handshakes under way to end. The keys
// stay: the site can go on signing. It does nothing while nothing is served.
func (s *Site) Close() {
	s.mu.Lock()
	server := s.server
	s.server = nil
	s.mu.Unlock()
	if server != nil {
		server.close()
	}
}

// Handshakes is how many handshakes the site has completed in its life.
func (s *Site) Handshakes() int {
	return int(s.handshakes.Load())
}

// Connections is how many connections the site has accepted in its life, whether or not their handshakes were completed.
func (s *Site) Connections() int {
	return int(s.connections.Load())
}

// server owns a listener, the goroutine that accepts from it and one goroutine
// for each connection; close ends them all.
type server struct {
	listener         net.Listener
	config           *tls.Config
	handshakeTimeout time.Duration
	handshakes       *atomic.Int64 // the site's
	connections      *atomic.Int64 // the site's
	ctx              context.Context
	cancel           context.CancelFunc
	running          sync.WaitGroup
}

func startServer(site *Site, listener net.Listener) *server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{
		listener: listener, handshakeTimeout: site.handshakeTimeout,
		handshakes: &site.handshakes, connections: &site.connections,
		ctx: ctx, cancel: cancel,
	}
	s.config = &tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return site.current().tls, nil },
	}
	s.running.Go(s.accept)
	return s
}

func (s *server) accept() {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, say: the test machine is busy
			time.Sleep(10 * time.Millisecond)
			continue
		}
		s.connections.Add(1)
		s.running.Go(func() { s.handshake(conn) })
	}
}

// handshake errors are the client's to report: it may refuse us on purpose.
func (s *server) handshake(conn net.Conn) {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(s.ctx, s.handshakeTimeout)
	defer cancel()
	if tls.Server(conn, s.config).HandshakeContext(ctx) == nil {
		s.handshakes.Add(1)
	}
}

func (s *server) close() {
	s.cancel()
	s.listener.Close()
	s.running.Wait()
}
