package ingest

// What one client does, and what others get meanwhile (I8, I9): one test for each bound, with clients on loopback
// addresses of their own.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"countersign/ingest/admission"
	"countersign/ingest/internal/ingesttest"
	"countersign/pipeline/record"
)

// from returns a client of h with another address: 127.0.0.2 and so on. h's own has 127.0.0.1.
func (h *harness) from(address string) *ingesttest.Client {
	c := ingesttest.NewClient(h.t, h.Addr)
	c.HTTP.Transport.(*http.Transport).DialContext = dialer(address).DialContext
	return c
}

func dialer(address string) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
}

// dialFrom opens a connection from an address.
func (h *harness) dialFrom(address string) net.Conn {
	h.t.Helper()
	c, err := dialer(address).Dial("tcp", h.Addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(ingesttest.MaxWait)); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// openBody begins an upload from an address and returns once it has a place. fields are header lines.
func (h *harness) openBody(address, fields, text string) net.Conn {
	h.t.Helper()
	before := h.admission.Uploads.Held()
	c := h.dialFrom(address)
	fmt.Fprintf(c, "POST /api/v1/asyncsign/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n%s\r\n%s", site, fields, text)
	ingesttest.Until(h.t, "the upload has a place", func() bool { return h.admission.Uploads.Held() > before })
	return c
}

// uploadInTime posts a body until it is accepted: on a machine that is busy, a place may come free too late for the
// first requests.
func (h *harness) uploadInTime(body []byte) {
	h.t.Helper()
	ingesttest.Until(h.t, "the upload is accepted", func() bool {
		return h.Do("POST", "/api/v1/asyncsign/"+site, body).Status == 200
	})
}

func TestSlowBodyGivesWay(t *testing.T) {
	for name, c := range map[string]struct{ fields, text string }{
		"after a byte":      {"", "["},
		"before its 100":    {"Expect: 100-continue\r\n", ""},
		"after some chunks": {"", string(pairs(100, 2500, 8)[:60_000])},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, func(c *Config) { c.MaxUploads = 1 })
			slow := h.openBody("127.0.0.2", c.fields, c.text)
			h.uploadInTime(pairs(0, 3, 8))
			r := bufio.NewReader(slow)
			if c.fields != "" {
				if line, err := r.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
					t.Fatalf("%q, %v", line, err)
				}
				_, _ = r.ReadString('\n')
			}
			reply := ingesttest.ReadReply(t, r)
			h.Problem(reply, 408, "too-slow")
			if reply.Header.Get("Retry-After") != "1" || !strings.Contains(reply.Body, "16384 bytes a second") {
				t.Error(reply)
			}
			if s := h.done(h.upload(site, pairs(100, 2500, 8))); s["okHash"] != 2500 { // nothing of the slow one was kept
				t.Error(s)
			}
		})
	}
}

func TestOneAddressAloneMayBeSlow(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxUploads = 2 })
	first, second := h.openBody("127.0.0.2", "", "["), h.openBody("127.0.0.2", "", "[")
	h.Problem(h.from("127.0.0.2").Do("POST", "/api/v1/asyncsign/"+site, "[]"), 503, "busy")
	for _, c := range []net.Conn{first, second} {
		if _, err := fmt.Fprint(c, strings.Repeat(" ", 999_998), "]"); err != nil {
			t.Fatal(err)
		}
		if r := ingesttest.ReadReply(t, c); r.Status != 200 {
			t.Error(r)
		}
	}
}

// Bodies that are not slow give way, too, when their client has more places than its share.
func TestBorrowedPlaceIsCalledBack(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxUploads, c.MinBodyRate = 2, -1 })
	older, younger := h.openBody("127.0.0.2", "", "["), h.openBody("127.0.0.2", "", "[")
	h.uploadInTime(pairs(0, 3, 8))
	h.Problem(ingesttest.ReadReply(t, younger), 429, "over-share")
	fmt.Fprint(older, strings.Repeat(" ", 999_998), "]")
	if r := ingesttest.ReadReply(t, older); r.Status != 200 {
		t.Error(r)
	}
}

func TestClientOverItsShareIsRefused(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxUploads, c.MinBodyRate = 2, -1 })
	for range 2 {
		h.openBody("127.0.0.2", "", "[")
	}
	stop := make(chan struct{})
	waiter := admission.Who{Client: admission.ClientOf(netip.MustParseAddr("127.0.0.3"))}
	done := make(chan struct{})
	go func() { // somebody always waits
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if place, err := h.admission.Uploads.Enter(context.Background(), waiter); err == nil {
				place.Release()
			}
		}
	}()
	defer func() { close(stop); <-done }()
	client := h.from("127.0.0.2")
	ingesttest.Until(t, "the client is refused", func() bool {
		r := client.Do("POST", "/api/v1/asyncsign/"+site, "[]")
		if r.Status != 429 {
			return false
		}
		golden(t, "problem-over-share", r.Body)
		h.Problem(r, 429, "over-share")
		if r.Header.Get("Retry-After") != "1" || r.Header.Get("RateLimit") != `"uploads";r=0;t=1` ||
			r.Header.Get("RateLimit-Policy") != `"uploads";q=1;qu="concurrent-requests"` {
			t.Error(r.Header)
		}
		return true
	})
}

func TestCallThatWaitsGivesWay(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxSync = 1 })
	lag := make(chan struct{})
	h.log.with(func(l *fakeLog) { l.lag = lag })
	waiting := make(chan ingesttest.Reply, 1)
	path := func(i int) string {
		return "/api/v1/sign/" + site + "?hash=" + ingesttest.HashText(i) + "&sig=" + ingesttest.Signature(8)
	}
	client := h.from("127.0.0.2")
	go func() { waiting <- client.Do("GET", path(0), nil) }()
	ingesttest.Until(t, "the call has its place", func() bool { return h.admission.Calls.Held() == 1 })
	other := make(chan ingesttest.Reply, 1)
	go func() {
		r := h.Do("GET", path(1), nil)
		for r.Status == 503 { // it came too early for the place
			r = h.Do("GET", path(1), nil)
		}
		other <- r
	}()
	r := <-waiting
	p := h.Problem(r, 504, "not-finished")
	if r.Header.Get("Retry-After") != "1" {
		t.Error(r.Header)
	}
	close(lag)
	if s := h.done(p["uuid"].(string)); s["okHash"] != 1 { // as the reply said
		t.Error(s)
	}
	if r := <-other; r.Status != 200 {
		t.Error(r)
	}
}

func TestClientWithMuchUndecidedIsRefused(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxBacklog = 100 })
	lag := make(chan struct{})
	h.log.with(func(l *fakeLog) { l.lag = lag })
	much := h.from("127.0.0.2")
	post := func(c *ingesttest.Client) ingesttest.Reply {
		return c.Do("POST", "/api/v1/asyncsign/"+site, pairs(0, 1, 8))
	}
	for range 40 { // 80 records
		if r := post(much); r.Status != 200 {
			t.Fatal(r)
		}
	}
	h.log.with(func(l *fakeLog) { l.backlog = 80 })
	ingesttest.Until(t, "the backlog is known", func() bool { return h.backlog.Load() == 80 })
	if r := post(much); r.Status != 200 {
		t.Errorf("one client alone: %v", r)
	}
	if r := post(h.Client); r.Status != 200 {
		t.Errorf("a client with nothing undecided: %v", r)
	}
	r := post(much)
	h.Problem(r, 429, "over-share")
	if r.Header.Get("Retry-After") != "5" || !strings.HasPrefix(r.Header.Get("RateLimit-Policy"), `"undecided";q=`) {
		t.Error(r.Header)
	}
	h.Problem(much.Do("GET", "/api/v1/sign/"+site+"?hash="+ingesttest.HashText(0)+"&sig=AAAA", nil), 429, "over-share")
	if r := post(h.Client); r.Status != 200 {
		t.Errorf("a client with little undecided: %v", r)
	}
	close(lag)
	ingesttest.Until(t, "what is decided doesn't count", func() bool { return post(much).Status == 200 })
}

func TestCompressedBodyUnfoldsWithinABound(t *testing.T) {
	h := start(t, nil)
	plain := pairs(0, 100_000, 8) // one signature, and hashes that count up
	for coding, body := range map[string][]byte{
		"zstd": ingesttest.Zstandard(string(plain)), "gzip": ingesttest.Gzipped(strings.Repeat(" ", 10_000_000)),
	} {
		r := h.Do("POST", "/api/v1/asyncsign/"+site, body, "Content-Encoding", coding)
		if p := h.Problem(r, 413, "unfolds-too-far"); p["limit"].(float64) > float64(4<<10+20*len(body)) {
			t.Errorf("%s of %d bytes: %v", coding, len(body), p)
		}
	}
	h.nothingKept()
	if r := h.Do("POST", "/api/v1/asyncsign/"+site, ingesttest.Zstandard(string(pairs(0, 50, 8))), "Content-Encoding", "zstd"); r.Status != 200 {
		t.Errorf("a short body: %v", r)
	}
}

func TestIdleConnectionsGiveWay(t *testing.T) {
	h := start(t, func(c *Config) { c.HTTP.MaxConnections = 3 })
	var idle []net.Conn
	for range 3 {
		idle = append(idle, h.dialFrom("127.0.0.2"))
	}
	ingesttest.Until(t, "an upload is admitted", func() bool {
		return h.Do("POST", "/api/v1/asyncsign/"+site, "[]").Status == 200
	})
	closed := 0
	for _, c := range idle {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			closed++
		}
	}
	if closed != 1 {
		t.Errorf("%d idle connections were closed", closed)
	}
}

// The log says of each chunk and each seal which client it came from: the address connected, or what a trusted proxy
// says.
func TestRecordsNameTheClient(t *testing.T) {
	for _, trusted := range []string{"", "127.0.0.1"} {
		h := start(t, func(c *Config) {
			var err error
			if c.TrustedProxies, err = admission.ParseProxies(trusted); err != nil {
				t.Fatal(err)
			}
		})
		h.upload(site, pairs(0, 2500, 8), "X-Forwarded-For", "203.0.113.9, 192.0.2.7")
		h.sign(site, 5000, "Forwarded", "for=192.0.2.7")
		want := "127.0.0.1"
		if trusted != "" {
			want = "192.0.2.7"
		}
		token, _ := admission.ClientOf(netip.MustParseAddr(want)).Token()
		records := 0
		h.log.with(func(l *fakeLog) {
			for _, r := range l.records {
				client := r.GetSeal().GetClient()
				if chunk := r.GetChunk(); chunk != nil {
					client = record.ClientOf(chunk)
				}
				if records++; string(client) != string(token[:]) {
					t.Errorf("proxies %q: client %x, want %x", trusted, client, token)
				}
			}
		})
		if records != 5 { // three chunks and their seal, and a chunk with its seal
			t.Errorf("%d records", records)
		}
	}
}
