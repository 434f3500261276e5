package server

// "Expect: 100-continue": admission comes before the 100, and whatever it took is given back.

import (
	"bufio"
	"fmt"
	"net/http"
	"testing"
	"time"

	"countersign/ingest/internal/ingesttest"
)

const expectingHead = "POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"

func TestExpectRefused(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxBody = 1000 })
	ask := func(path string, length int) ingesttest.Reply {
		c := h.Dial()
		defer c.Close()
		fmt.Fprintf(c, expectingHead, path, length)
		return ingesttest.ReadReply(t, c)
	}
	h.Problem(ask("/bodies/refused", 10), 400, "invalid-parameter")
	h.Problem(ask("/bodies/a", 1001), 413, "body-too-large")
	h.Problem(ask("/nothing", 10), 404, "not-found")
	if r := ask("/bodies/a", 10); r.Status != http.StatusContinue { // and then the client goes away
		t.Error(r)
	}
	ingesttest.Until(t, "the place of a client that went away is free", func() bool { return len(h.places) == 0 })
	h.places <- struct{}{}
	h.places <- struct{}{}
	r := ask("/bodies/a", 10)
	if h.Problem(r, 503, "busy"); r.Header.Get("Retry-After") != "1" || !r.Closed {
		t.Error(r.Header)
	}
}

func TestExpectPlaceIsGivenBack(t *testing.T) {
	h := start(t, nil)
	for range 5 { // the client hangs up between the 100 and its first byte: the handler never runs
		c := h.Dial()
		fmt.Fprintf(c, expectingHead, "/bodies/a", 10)
		if r := ingesttest.ReadReply(t, c); r.Status != http.StatusContinue {
			t.Fatal(r)
		}
		c.Close()
		ingesttest.Until(t, "the place is free", func() bool { return len(h.places) == 0 })
	}
}

func TestExpectPlaceOfASilentClient(t *testing.T) {
	h := start(t, func(c *Config) { c.StallTimeout = 200 * time.Millisecond })
	c := h.Dial()
	fmt.Fprintf(c, expectingHead, "/bodies/a", 10)
	r := bufio.NewReader(c)
	reply := ingesttest.ReadReply(t, r)
	if reply.Status == http.StatusContinue { // it isn't if this process slept between the dial and the head
		reply = ingesttest.ReadReply(t, r)
	}
	h.Problem(reply, 408, "stalled")
	ingesttest.Until(t, "the place is free", func() bool { return len(h.places) == 0 })
}
