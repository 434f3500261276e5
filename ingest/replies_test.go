package ingest

// Replies that name every pair are memory that callers choose the size of. How much of it there is at once, and who has
// it.

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"countersign/ingest/admission"
	"countersign/ingest/internal/ingesttest"
)

// startSlowReader starts a server with one place for large replies, and makes a client at 127.0.0.2 that has it: it
// doesn't read the reply to its call.
func startSlowReader(t *testing.T) (h *harness, slow net.Conn) {
	t.Helper()
	h = start(t, func(c *Config) {
		c.Replies = []admission.ReplySize{{Bytes: 64 << 10}, {Name: "replies-large", Places: 1}}
	})
	slow = h.dialFrom("127.0.0.2")
	if err := slow.(*net.TCPConn).SetReadBuffer(256 << 10); err != nil {
		t.Fatal(err)
	}
	body := pairs(1000, 100_000, 8)
	fmt.Fprintf(slow, "POST /api/v1/sign/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", site, len(body), body)
	ingesttest.Until(t, "the large call waits for its client to read", func() bool {
		return h.largeReplies() == 1 && h.admission.Calls.Held() == 0
	})
	return h, slow
}

func (h *harness) largeReplies() int { return h.admission.Replies.Held("replies-large") }

func TestLargeRepliesHoldUpNoSmallOnes(t *testing.T) {
	h, slow := startSlowReader(t)
	if r := h.Do("POST", "/api/v1/sign/"+site, pairs(0, 300, 8)); r.Status != 200 {
		t.Errorf("a call of 300 pairs: %v", r)
	}
	if r := h.sign(site, 500); r.Status != 200 {
		t.Errorf("a single signing: %v", r)
	}
	if h.largeReplies() != 1 {
		t.Fatal("the large reply was not in flight")
	}
	reply, err := http.ReadResponse(bufio.NewReader(slow), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if n, err := io.Copy(io.Discard, reply.Body); err != nil || n != reply.ContentLength || n < 100_000*68 {
		t.Errorf("%d of %d bytes, %v", n, reply.ContentLength, err)
	}
	ingesttest.Until(t, "the place is free", func() bool { return h.largeReplies() == 0 })
}

// While a client doesn't take its reply, it gets no second one. Its call is accepted, and the answer says where the
// result is.
func TestACallWhoseReplyHasNoPlaceIsToldWhereTheResultIs(t *testing.T) {
	h, _ := startSlowReader(t)
	c := h.from("127.0.0.2")
	r := c.Do("POST", "/api/v1/sign/"+site, pairs(0, 1000, 8))
	p := h.Problem(r, 504, "not-finished")
	if r.Header.Get("Retry-After") != "1" {
		t.Error(r.Header)
	}
	if s := h.done(p["uuid"].(string)); s["okHash"] != 1000 {
		t.Error(s)
	}
	r = c.Do("GET", "/api/v1/resultasync/"+p["uuid"].(string)+"/1", nil)
	h.Problem(r, 503, "busy")
	if !strings.HasPrefix(r.Header.Get("RateLimit"), `"replies-large";`) || r.Header.Get("Retry-After") != "1" {
		t.Error(r.Header)
	}
}

// Another client gets the place of one who doesn't take his reply.
func TestARefusedReplyGivesWay(t *testing.T) {
	h, slow := startSlowReader(t)
	ingesttest.Until(t, "another client has its reply", func() bool {
		return h.Do("POST", "/api/v1/sign/"+site, pairs(0, 1000, 8)).Status == 200
	})
	if _, err := io.Copy(io.Discard, slow); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !isReset(err) {
		t.Errorf("the connection of the slow reader: %v", err)
	}
}

func isReset(err error) bool {
	var network *net.OpError
	return errors.As(err, &network) && !network.Timeout()
}
