package ingesttest

// Servers on loopback.

import (
	"context"
	"errors"
	"net"
	"testing"
)

// Server is what Serve starts and stops.
type Server interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
}

// Serve runs a server on loopback until the test ends, and returns a client of it.
func Serve(t testing.TB, s Server) *Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), MaxWait)
		defer cancel()
		if err := errors.Join(s.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	return NewClient(t, l.Addr().String())
}
