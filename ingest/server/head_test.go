package server

// Heads and framings that HTTP allows, or forbids, and that other clients and proxies read in their own way.

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"countersign/ingest/internal/ingesttest"
)

const chunkedHead = "POST /bodies/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"

func TestExpectationInAnyLetters(t *testing.T) {
	h := start(t, nil)
	// Java's HttpClient sends the second.
	for _, expect := range []string{"100-continue", "100-Continue", "100-CONTINUE "} {
		c := h.Dial()
		r := bufio.NewReader(c)
		fmt.Fprintf(c, "POST /bodies/a HTTP/1.1\r\nHost: x\r\nExpect: %s\r\nContent-Length: 2\r\n\r\n", expect)
		if reply := ingesttest.ReadReply(t, r); reply.Status != http.StatusContinue {
			t.Fatalf("%s: %v", expect, reply)
		}
		_, _ = io.WriteString(c, "[]")
		if reply := ingesttest.ReadReply(t, r); reply.Status != 200 {
			t.Errorf("%s: %v", expect, reply)
		}
	}
	replies := h.Exchange("POST /bodies/a HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n[]", false)
	if len(replies) != 1 || replies[0].Status != 200 {
		t.Errorf("HTTP/1.0 knows no 100: %v", replies)
	}
}

// A body in chunks is whole when its last chunk came, however complete its JSON looks (RFC 9112, section 8).
func TestChunkedBodyWithoutItsEnd(t *testing.T) {
	h := start(t, nil)
	for name, c := range map[string]struct{ body, kind string }{
		"between chunks":            {"2\r\n[]\r\n", "cut-off"},
		"after the last size":       {"2\r\n[]\r\n0\r\n", "cut-off"},
		"before the first":          {"", "cut-off"},
		"no byte of a chunk":        {"5\r\n", "cut-off"},
		"within a chunk":            {"5\r\n[[", "cut-off"},
		"no size":                   {"-5\r\nabcde\r\n0\r\n\r\n", "malformed-request"},
		"a size too large":          {"fffffffffffffffff\r\nabcde\r\n0\r\n\r\n", "malformed-request"},
		"line feeds alone":          {"2\n[]\n0\n\n", "malformed-request"},
		"longer than its size":      {"2\r\n[]XX0\r\n\r\n", "malformed-request"},
		"more trailers than a head": {"2\r\n[]\r\n0\r\n" + strings.Repeat("X: y\r\n", 20_000) + "\r\n", "malformed-request"},
	} {
		replies := h.Exchange(chunkedHead+c.body, true)
		if len(replies) != 1 {
			t.Fatalf("%s: %v", name, replies)
		}
		h.Problem(replies[0], 400, c.kind)
	}
	for _, end := range []string{"0\r\n\r\n", "0\r\nX-Sum: 1\r\n\r\n"} {
		if replies := h.Exchange(chunkedHead+"2\r\n[]\r\n"+end, true); len(replies) != 1 || replies[0].Status != 200 {
			t.Errorf("a whole body whose client ended its side: %v", replies)
		}
	}
}

func TestFramedTwice(t *testing.T) {
	h := start(t, nil)
	const smuggled = "0\r\n\r\nGET /things/a/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	for _, fields := range []string{
		"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "transfer-encoding: Chunked\r\ncontent-length: 4\r\n",
	} {
		replies := h.Exchange("POST /bodies/a HTTP/1.1\r\nHost: x\r\n"+fields+"\r\n"+smuggled, false)
		if len(replies) != 1 || !replies[0].Closed {
			t.Fatalf("%v", replies)
		}
		h.Problem(replies[0], 400, "malformed-request")
	}
}

func TestOtherProtocols(t *testing.T) {
	h := start(t, nil)
	for _, head := range []string{"GET /things/a/b HTTP/2.0\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"} {
		replies := h.Exchange(head, false)
		if len(replies) != 1 {
			t.Fatalf("%q: %v", head, replies)
		}
		if p := h.Problem(replies[0], 400, "malformed-request"); !strings.Contains(p["detail"].(string), "HTTP/1.1") {
			t.Error(p)
		}
	}
}

func TestConnectionOptions(t *testing.T) {
	h := start(t, nil)
	for _, options := range []string{"close", "TE, close", "Upgrade, Close"} {
		// It ends when the server closes.
		replies := h.Exchange("GET /things/a/b HTTP/1.1\r\nHost: x\r\nConnection: "+options+"\r\n\r\n", false)
		if len(replies) != 1 || replies[0].Status != 200 || !replies[0].Closed {
			t.Errorf("%s: %v", options, replies)
		}
	}
}

func TestOptionsOfTheServer(t *testing.T) {
	h := start(t, nil)
	replies := h.Exchange("OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false)
	if len(replies) != 1 || replies[0].Status != 204 || replies[0].Header.Get("Allow") == "" {
		t.Error(replies)
	}
}

func TestRequestThatEndsBeforeItsBody(t *testing.T) {
	h := start(t, nil)
	replies := h.Exchange("POST /bodies/a HTTP/1.1\r\nHost: x\r\nContent-Length: 200\r\n\r\n", true)
	if len(replies) != 1 || !strings.Contains(replies[0].Body, "ended") {
		t.Fatal(replies)
	}
	h.Problem(replies[0], 400, "malformed-request")
}

func TestTooManyConnections(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxConnections = 3 })
	var held []net.Conn
	for range 3 {
		held = append(held, h.Dial())
	}
	for range 2 * maxRefusals { // more than may linger, and nobody reads: still each is answered, and costs nobody else
		c := h.Dial()
		r := ingesttest.ReadReply(t, c)
		if h.Problem(r, 503, "busy"); r.Header.Get("Retry-After") != "1" || !r.Closed {
			t.Fatal(r)
		}
	}
	fmt.Fprint(held[0], "GET /things/a/b HTTP/1.1\r\nHost: x\r\n\r\n")
	if r := ingesttest.ReadReply(t, held[0]); r.Status != 200 {
		t.Error(r)
	}
	for _, c := range held {
		c.Close()
	}
	ingesttest.Until(t, "a connection that was closed doesn't count", func() bool {
		c := h.Dial()
		defer c.Close()
		fmt.Fprint(c, "GET /things/a/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}
