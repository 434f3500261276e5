package ingest

// Heads and framings that HTTP allows, or forbids, and that other clients and proxies read in their own way.

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// exchangeRaw sends text, ends its side if half, and returns the replies until the server closes.
func exchangeRaw(t *testing.T, h *harness, text string, half bool) []reply {
	t.Helper()
	c := dial(t, h)
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	if half {
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	var replies []reply
	r := bufio.NewReader(c)
	for {
		if _, err := r.Peek(1); err != nil {
			return replies
		}
		replies = append(replies, readReplyFrom(t, r))
	}
}

const chunkedHead = "POST /api/v1/asyncsign/a.example HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"

func TestExpectationInAnyLetters(t *testing.T) {
	h := start(t, nil)
	for _, expect := range []string{"100-continue", "100-Continue", "100-CONTINUE "} { // Java's HttpClient sends the second
		c := dial(t, h)
		r := bufio.NewReader(c)
		fmt.Fprintf(c, "POST /api/v1/asyncsign/a.example HTTP/1.1\r\nHost: x\r\nExpect: %s\r\nContent-Length: 2\r\n\r\n", expect)
		if reply := readReplyFrom(t, r); reply.status != http.StatusContinue {
			t.Fatalf("%s: %v", expect, reply)
		}
		_, _ = io.WriteString(c, "[]")
		if reply := readReplyFrom(t, r); reply.status != 200 {
			t.Errorf("%s: %v", expect, reply)
		}
	}
	replies := exchangeRaw(t, h, "POST /api/v1/asyncsign/a.example HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n[]", false)
	if len(replies) != 1 || replies[0].status != 200 {
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
		"within a chunk":            {"5\r\n[[", "malformed-body"},
		"no size":                   {"-5\r\nabcde\r\n0\r\n\r\n", "malformed-request"},
		"a size too large":          {"fffffffffffffffff\r\nabcde\r\n0\r\n\r\n", "malformed-request"},
		"line feeds alone":          {"2\n[]\n0\n\n", "malformed-request"},
		"longer than its size":      {"2\r\n[]XX0\r\n\r\n", "malformed-request"},
		"more trailers than a head": {"2\r\n[]\r\n0\r\n" + strings.Repeat("X: y\r\n", 20_000) + "\r\n", "malformed-request"},
	} {
		replies := exchangeRaw(t, h, chunkedHead+c.body, true)
		if len(replies) != 1 {
			t.Fatalf("%s: %v", name, replies)
		}
		h.problem(replies[0], 400, c.kind)
	}
	h.nothingKept()
	for _, end := range []string{"0\r\n\r\n", "0\r\nX-Sum: 1\r\n\r\n"} {
		if replies := exchangeRaw(t, h, chunkedHead+"2\r\n[]\r\n"+end, true); len(replies) != 1 || replies[0].status != 200 {
			t.Errorf("a whole body whose client ended its side: %v", replies)
		}
	}
}

func TestFramedTwice(t *testing.T) {
	h := start(t, nil)
	const smuggled = "0\r\n\r\nGET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	for _, fields := range []string{"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "transfer-encoding: Chunked\r\ncontent-length: 4\r\n"} {
		replies := exchangeRaw(t, h, "POST /api/v1/asyncsign/a.example HTTP/1.1\r\nHost: x\r\n"+fields+"\r\n"+smuggled, false)
		if len(replies) != 1 || !replies[0].closed {
			t.Fatalf("%v", replies)
		}
		h.problem(replies[0], 400, "malformed-request")
	}
}

func TestOtherProtocols(t *testing.T) {
	h := start(t, nil)
	for _, head := range []string{"GET / HTTP/2.0\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"} {
		replies := exchangeRaw(t, h, head, false)
		if len(replies) != 1 {
			t.Fatalf("%q: %v", head, replies)
		}
		if p := h.problem(replies[0], 400, "malformed-request"); !strings.Contains(p["detail"].(string), "HTTP/1.1") {
			t.Error(p)
		}
	}
}

func TestConnectionOptions(t *testing.T) {
	h := start(t, nil)
	for _, options := range []string{"close", "TE, close", "Upgrade, Close"} {
		replies := exchangeRaw(t, h, "GET / HTTP/1.1\r\nHost: x\r\nConnection: "+options+"\r\n\r\n", false) // ends when the server closes
		if len(replies) != 1 || replies[0].status != 200 || !replies[0].closed {
			t.Errorf("%s: %v", options, replies)
		}
	}
}

func TestOptionsOfTheServer(t *testing.T) {
	h := start(t, nil)
	replies := exchangeRaw(t, h, "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false)
	if len(replies) != 1 || replies[0].status != 204 || replies[0].header.Get("Allow") == "" {
		t.Error(replies)
	}
}

func TestRequestThatEndsBeforeItsBody(t *testing.T) {
	h := start(t, nil)
	replies := exchangeRaw(t, h, "POST /api/v1/asyncsign/a.example HTTP/1.1\r\nHost: x\r\nContent-Length: 200\r\n\r\n", true)
	if len(replies) != 1 || !strings.Contains(replies[0].body, "ended") {
		t.Fatal(replies)
	}
	h.problem(replies[0], 400, "malformed-request")
}

func TestTooManyConnections(t *testing.T) {
	h := start(t, func(c *Config) { c.HTTP.MaxConnections = 3 })
	var held []net.Conn
	for range 3 {
		held = append(held, dial(t, h))
	}
	for range 2 * maxRefusals { // more than may linger, and nobody reads: still each is answered, and costs nobody else
		c := dial(t, h)
		r := readReply(t, c)
		if h.problem(r, 503, "busy"); r.header.Get("Retry-After") != "1" || !r.closed {
			t.Fatal(r)
		}
	}
	fmt.Fprint(held[0], "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if r := readReply(t, held[0]); r.status != 200 {
		t.Error(r)
	}
	for _, c := range held {
		c.Close()
	}
	for range 2000 { // places are given back
		c := dial(t, h)
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if r, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
			r.Body.Close()
			if r.StatusCode == 200 {
				return
			}
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("connections that were closed still count")
}
