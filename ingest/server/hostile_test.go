package server

// What bad input gets, and where each bound is (I6, I7).

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"countersign/ingest/internal/ingesttest"
)

func TestHostileHeads(t *testing.T) {
	quick := func(c *Config) { c.StallTimeout = 200 * time.Millisecond }
	const post = "POST /bodies/a HTTP/1.1\r\nHost: x\r\n"
	for name, c := range map[string]struct {
		head   string
		status int
		config func(*Config)
	}{
		"no HTTP":               {"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, nil},
		"too large":             {"GET / HTTP/1.1\r\nCookie: " + strings.Repeat("a", 20_000) + "\r\n\r\n", 431, nil},
		"slow":                  {"GET / HTTP/1.1\r\nHo", 408, quick},
		"two lengths":           {post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n[]", 400, nil},
		"negative length":       {post + "Content-Length: -2\r\n\r\n[]", 400, nil},
		"unknown coding":        {post + "Transfer-Encoding: gzip, chunked\r\n\r\n[]", 400, nil},
		"absolute parameter":    {"POST /bodies/https://a.b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n[", 404, nil},
		"broken percent":        {"GET /things/a%zz/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, nil},
		"broken chunks":         {post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n[]", 400, nil},
		"chunk longer than all": {post + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n[]", 400, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, c.config)
			conn := h.Dial()
			if _, err := io.WriteString(conn, c.head); err != nil {
				t.Fatal(err)
			}
			r := ingesttest.ReadReply(t, conn)
			if r.Status != c.status || r.Header.Get("Content-Type") != "application/problem+json" || !r.Closed {
				t.Errorf("%d %v %s", r.Status, r.Header, r.Body)
			}
		})
	}
}

func TestRestOfARefusedBodyIsNoRequest(t *testing.T) {
	h := start(t, func(c *Config) { c.LingerTimeout = 100 * time.Millisecond })
	inner := "POST /panics HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]"
	for name, head := range map[string]string{
		"refused":       "POST /bodies/refused HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
		"half read":     "POST /bodies/impatient HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
		"GET with body": "GET /things/a/b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
		"not found":     "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
	} {
		c := h.Dial()
		fmt.Fprintf(c, head+"%s", len(inner)+1000, inner)
		r := bufio.NewReader(c)
		if reply := ingesttest.ReadReply(t, r); !reply.Closed {
			t.Errorf("%s: %v", name, reply.Header)
		}
		if rest, _ := io.ReadAll(r); len(rest) > 0 {
			t.Errorf("%s: another reply: %q", name, rest)
		}
	}
}

func TestConnectionIsKeptWhereTheBodyWasRead(t *testing.T) {
	h := start(t, nil)
	c := h.Dial()
	r := bufio.NewReader(c)
	for _, name := range []string{"a", "complains", "a"} {
		for _, body := range []string{"[]", "", string(ingesttest.Pairs(0, 3, 8))} {
			fmt.Fprintf(c, "POST /bodies/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", name, len(body), body)
			if reply := ingesttest.ReadReply(t, r); reply.Closed || (reply.Status == 200) != (name == "a") {
				t.Errorf("%s, %q: %v", name, body, reply)
			}
		}
	}
}

func TestStalledBody(t *testing.T) {
	h := start(t, func(c *Config) { c.StallTimeout, c.LingerTimeout = 200*time.Millisecond, 50*time.Millisecond })
	text := ingesttest.Pairs(0, 2500, 64)
	half := text[:len(text)/2]
	for name, rest := range map[string]string{
		"length":                 fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(text), half),
		"none":                   fmt.Sprintf("Content-Length: %d\r\n\r\n", len(text)),
		"chunked":                fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s", len(text), half),
		"in the head of a chunk": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(half), half),
		"in the size of a chunk": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n1", len(half), half),
	} {
		t.Run(name, func(t *testing.T) {
			c := h.Dial()
			fmt.Fprintf(c, "POST /bodies/a HTTP/1.1\r\nHost: x\r\n%s", rest)
			h.Problem(ingesttest.ReadReply(t, c), 408, "stalled")
		})
	}
}

// A client that never stops sending, but too slowly, is told so at the body's deadline.
func TestBodyDeadline(t *testing.T) {
	h := start(t, func(c *Config) { c.BodyTimeout, c.LingerTimeout = 300*time.Millisecond, 50*time.Millisecond })
	c := h.Dial()
	fmt.Fprintf(c, "POST /bodies/a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 1<<28)
	sent := make(chan struct{})
	go func() { // until the server closes
		defer close(sent)
		for {
			if _, err := c.Write([]byte("[")); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	h.Problem(ingesttest.ReadReply(t, c), 408, "too-slow")
	c.Close()
	<-sent
}

func TestPanicIsA500(t *testing.T) {
	h := start(t, nil)
	for _, expect := range []string{"", "Expect: 100-continue\r\n"} {
		c := h.Dial()
		fmt.Fprintf(c, "POST /panics HTTP/1.1\r\nHost: x\r\n%sContent-Length: 2\r\n\r\n[]", expect)
		h.Problem(ingesttest.ReadReply(t, c), 500, "internal")
	}
	h.Problem(h.Do("GET", "/panics", nil), 500, "internal")
	if r := h.Do("GET", "/things/a/b", nil); r.Body != "a b" {
		t.Error(r)
	}
}

func TestStopEndsBodies(t *testing.T) {
	h := start(t, func(c *Config) { c.DrainTimeout = 50 * time.Millisecond })
	c := h.Dial()
	fmt.Fprint(c, "POST /bodies/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[")
	ingesttest.Until(t, "the body is read", func() bool { return len(h.places) == 1 })
	if err := h.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	h.Problem(ingesttest.ReadReply(t, c), 503, "stopping")
}
