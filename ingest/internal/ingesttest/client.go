package ingesttest

// An HTTP client. What net/http would hide is read from a raw connection.

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// wholeRequest bounds a request of any length: a million pairs take a minute on a busy machine with the race detector.
const wholeRequest = 10 * MaxWait

// Client asks one server.
type Client struct {
	T    testing.TB
	Addr string // host:port
	URL  string // http://host:port
	HTTP *http.Client
}

// NewClient makes a client of the server at addr. Its idle connections are closed when the test ends.
func NewClient(t testing.TB, addr string) *Client {
	transport := &http.Transport{DisableCompression: true, ExpectContinueTimeout: MaxWait}
	t.Cleanup(transport.CloseIdleConnections)
	return &Client{
		T: t, Addr: addr, URL: "http://" + addr, HTTP: &http.Client{Transport: transport, Timeout: wholeRequest},
	}
}

// Reply is an HTTP reply, whole.
type Reply struct {
	Status int
	Header http.Header
	Body   string
	Closed bool // the server said that it closes the connection
}

// Do sends one request. body may be nil, a string, bytes or a reader; headers come in pairs.
func (c *Client) Do(method, path string, body any, headers ...string) Reply {
	c.T.Helper()
	var r io.Reader
	switch b := body.(type) {
	case string:
		r = strings.NewReader(b)
	case []byte:
		r = bytes.NewReader(b)
	case io.Reader:
		r = b
	}
	req, err := http.NewRequest(method, c.URL+path, r)
	if err != nil {
		c.T.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := c.HTTP.Do(req)
	if err != nil {
		c.T.Fatalf("%s %s: %v", method, path, err)
	}
	return whole(c.T, res)
}

func whole(t testing.TB, res *http.Response) Reply {
	t.Helper()
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("read a reply: %v", err)
	}
	return Reply{res.StatusCode, res.Header, string(text), res.Close}
}

// Problem checks that a reply is a problem of the given kind and returns its members.
func (c *Client) Problem(r Reply, status int, kind string) map[string]any {
	c.T.Helper()
	var p map[string]any
	if r.Header.Get("Content-Type") != "application/problem+json" || json.Unmarshal([]byte(r.Body), &p) != nil {
		c.T.Fatalf("want a problem, got %d %s: %s", r.Status, r.Header.Get("Content-Type"), r.Body)
	}
	if r.Status != status || p["type"] != "/problems/"+kind || p["status"] != float64(status) {
		c.T.Fatalf("want %d %s, got %d %s", status, kind, r.Status, r.Body)
	}
	if detail, _ := p["detail"].(string); !strings.HasSuffix(detail, ".") {
		c.T.Errorf("the detail is no sentence: %q", detail)
	}
	return p
}

// Dial opens a connection for what no well-behaved HTTP library sends. It is closed when the test ends.
func (c *Client) Dial() net.Conn {
	c.T.Helper()
	conn, err := net.Dial("tcp", c.Addr)
	if err != nil {
		c.T.Fatal(err)
	}
	c.T.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(MaxWait)); err != nil {
		c.T.Fatal(err)
	}
	return conn
}

// Exchange sends text on a connection of its own and returns the replies until the server closes. With half it ends its
// own side after the text.
func (c *Client) Exchange(text string, half bool) []Reply {
	c.T.Helper()
	conn := c.Dial()
	if _, err := io.WriteString(conn, text); err != nil {
		c.T.Fatal(err)
	}
	if half {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			c.T.Fatal(err)
		}
	}
	var replies []Reply
	r := bufio.NewReader(conn)
	for {
		if _, err := r.Peek(1); err != nil {
			return replies
		}
		replies = append(replies, ReadReply(c.T, r))
	}
}

// ReadReply reads one reply. To read more than one of a connection, give it a *bufio.Reader each time.
func ReadReply(t testing.TB, r io.Reader) Reply {
	t.Helper()
	buffered, ok := r.(*bufio.Reader)
	if !ok {
		buffered = bufio.NewReader(r)
	}
	res, err := http.ReadResponse(buffered, nil)
	if err != nil {
		t.Fatalf("read a reply: %v", err)
	}
	return whole(t, res)
}
