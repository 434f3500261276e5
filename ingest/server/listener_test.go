package server

// Connections before anybody has read of them.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"countersign/ingest/admission"
	"countersign/ingest/internal/ingesttest"
)

// crowdedAdmission belongs to a machine whose processors are always full.
func crowdedAdmission(t *testing.T, c admission.Config) *admission.Admission {
	t.Helper()
	c.Delay = func() func() time.Duration { return func() time.Duration { return time.Second } }
	a, err := admission.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// door is a listener that nobody but the test accepts from.
type door struct {
	*listener
	t *testing.T
}

func openDoor(t *testing.T, c admission.Config) *door {
	t.Helper()
	s, err := New(Config{Admission: crowdedAdmission(t, c), Logger: slog.New(slog.DiscardHandler)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{newListener(inner, s), t}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// dialFrom opens a connection from an address of loopback.
func dialFrom(t *testing.T, last byte, address string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, last)}}
	conn, err := d.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(ingesttest.MaxWait)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// count is how many connections wait for their turn, and how many have it.
func (d *door) count() (waiting, turned int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.waiting), len(d.turned)
}

// come has a connection come from an address of loopback, and returns when the listener has it.
func (d *door) come(last byte) net.Conn {
	d.t.Helper()
	waiting, turned := d.count()
	c := dialFrom(d.t, last, d.Addr().String())
	ingesttest.Until(d.t, "the listener has a connection", func() bool {
		w, t := d.count()
		return w+t > waiting+turned
	})
	return c
}

// crowd has the honest connection come from 127.0.0.1, and others from 127.0.0.2 until so many wait.
func (d *door) crowd(n int) (all []net.Conn) {
	d.t.Helper()
	d.come(1)
	for {
		if waiting, _ := d.count(); waiting >= n {
			return all
		}
		all = append(all, d.come(2))
	}
}

func TestConnectionsThatWaitCostNoGoroutine(t *testing.T) {
	d := openDoor(t, admission.Config{MinArrivals: 1, MaxTurnWait: time.Hour})
	d.crowd(1)
	before := runtime.NumGoroutine()
	d.crowd(100)
	if now := runtime.NumGoroutine(); now > before+10 {
		t.Errorf("%d goroutines before, %d now", before, now)
	}
	waiting, turned := d.count()
	if d.come(1); t.Failed() {
		return
	}
	ingesttest.Until(t, "the honest client's next connection has its turn", func() bool {
		w, t := d.count()
		return w <= waiting && t > turned
	})
}

func TestConnectionsThatWaitHaveTheirTurnInTheEnd(t *testing.T) {
	d := openDoor(t, admission.Config{MinArrivals: 20, MaxTurnWait: time.Hour})
	n := len(d.crowd(3)) + 1
	for range n {
		c, err := d.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if waiting, turned := d.count(); waiting+turned != 0 {
		t.Errorf("%d wait, %d have their turn", waiting, turned)
	}
}

// closedAmong is how many connections were closed by the server.
func closedAmong(all []net.Conn) (n int) {
	for _, c := range all {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			n++
		}
	}
	return n
}

func TestConnectionsThatWaitTooLongAreRefused(t *testing.T) {
	d := openDoor(t, admission.Config{MinArrivals: 1, MaxTurnWait: 50 * time.Millisecond})
	var all []net.Conn
	first := make([]byte, 1)
	ingesttest.Until(t, "a connection is refused", func() bool {
		dialFrom(t, 1, d.Addr().String())
		all = append(all, dialFrom(t, 2, d.Addr().String()))
		for _, c := range all {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if n, _ := c.Read(first); n == 0 { // it still waits, or it has its turn
				continue
			}
			_ = c.SetReadDeadline(time.Now().Add(ingesttest.MaxWait))
			r := ingesttest.ReadReply(t, io.MultiReader(bytes.NewReader(first), c))
			if r.Status != 503 || r.Header.Get("Retry-After") != "1" || !r.Closed {
				t.Error(r)
			}
			return true
		}
		return false
	})
}

func TestConnectionsThatWaitEndWithTheListener(t *testing.T) {
	d := openDoor(t, admission.Config{MinArrivals: 1, MaxTurnWait: time.Hour})
	all := d.crowd(5)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		_, _ = io.Copy(io.Discard, c) // it ends
	}
	if c, err := d.Accept(); err == nil {
		t.Errorf("accepted %v", c)
	}
}

func TestAConnectionThatWaitsMayBeHungUp(t *testing.T) {
	const most = 40
	d := openDoor(t, admission.Config{MinArrivals: 1, MaxTurnWait: time.Hour, MaxConnections: most})
	all := d.crowd(10)
	for len(all) < most-1 {
		all = append(all, d.come(2))
	}
	for range most / 4 {
		dialFrom(t, 1, d.Addr().String())
	}
	ingesttest.Until(t, "connections are hung up", func() bool { return closedAmong(all) == most/4 })
	ingesttest.Until(t, "they wait no longer", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		for c := range d.waiting {
			select {
			case <-c.hungUp:
				return false
			default:
			}
		}
		return true
	})
}

const someRequest = "GET /things/a/b HTTP/1.1\r\nHost: x\r\n\r\n"

func TestARequestWithoutATurnIsRefused(t *testing.T) {
	h := start(t, func(c *Config) {
		c.Admission = crowdedAdmission(t, admission.Config{MinArrivals: 1 << 20, MinRequests: 1, MaxTurnWait: 10 * time.Millisecond})
	})
	for last := byte(1); ; last = 2 {
		c := dialFrom(t, last, h.Addr)
		fmt.Fprint(c, someRequest)
		r := ingesttest.ReadReply(t, c)
		if r.Status == 200 {
			continue
		}
		h.Problem(r, 503, "busy")
		if r.Header.Get("Retry-After") != "1" || !strings.HasPrefix(r.Header.Get("RateLimit"), `"requests";r=0`) || r.Closed {
			t.Error(r)
		}
		return
	}
}

// shortListener has no descriptors for a while.
type shortListener struct {
	net.Listener
	failures atomic.Int32
}

func (l *shortListener) Accept() (net.Conn, error) {
	if l.failures.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

func TestTheListenerOutlivesAShortageOfDescriptors(t *testing.T) {
	s, err := New(Config{Logger: slog.New(slog.DiscardHandler)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	short := &shortListener{Listener: inner}
	short.failures.Store(3)
	l := newListener(short, s)
	dialFrom(t, 1, inner.Addr().String())
	if c, err := l.Accept(); err != nil {
		t.Error(err)
	} else {
		_ = c.Close()
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
