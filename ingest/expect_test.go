package ingest

// "Expect: 100-continue": admission comes before the 100, and whatever it took is given back.

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

func TestExpectRefused(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxUploads, c.HTTP.MaxBody = 1, 1000 })
	ask := func(path string, length int) reply {
		c := dial(t, h)
		defer c.Close()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", path, length)
		return readReply(t, c)
	}
	h.problem(ask("/api/v1/asyncsign/192.0.2.1", 10), 400, "invalid-site")
	h.problem(ask("/api/v1/asyncsign/"+site, 1001), 413, "body-too-large")
	h.problem(ask("/nothing", 10), 404, "not-found")
	if r := ask("/api/v1/asyncsign/"+site, 10); r.status != http.StatusContinue { // and then the client goes away
		t.Error(r)
	}
	open := openUploadOnceFree(t, h)
	r := ask("/api/v1/asyncsign/"+site, 10)
	if h.problem(r, 503, "busy"); r.header.Get("Retry-After") != "1" || !r.closed {
		t.Error(r.header)
	}
	open.Close()
}

func openUploadOnceFree(t *testing.T, h *harness) io.Closer {
	t.Helper()
	for range 2000 {
		if len(h.uploads) == 0 {
			return openUpload(t, h)
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("a slot leaked")
	return nil
}

func TestExpectSlotIsGivenBack(t *testing.T) {
	h := start(t, func(c *Config) { c.HTTP.StallTimeout = 200 * time.Millisecond })
	for range 5 { // the client hangs up between the 100 and its first byte: the handler never runs
		c := dial(t, h)
		fmt.Fprintf(c, "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n", site)
		readReply(t, c)
		c.Close()
	}
	c := dial(t, h) // or it stays silent
	fmt.Fprintf(c, "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n", site)
	r := bufio.NewReader(c)
	readReplyFrom(t, r)
	h.problem(readReplyFrom(t, r), 408, "stalled")
	for range 1000 {
		if len(h.uploads) == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d slots leaked", len(h.uploads))
}
