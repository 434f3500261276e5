package embedded

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/iotest"
	"time"

	"countersign/pipeline/log/internal/logtest"
)

// Frames go through in pieces of any size, and nothing after one that is too long.
func TestFrames(t *testing.T) {
	whole := []byte("\x00\x00\x00\x03abc\x00\x00\x00\x00\x00\x00\x00\x01d")
	for name, slow := range map[string]func(io.Reader) io.Reader{
		"at once":     func(r io.Reader) io.Reader { return r },
		"by the byte": iotest.OneByteReader,
	} {
		c := &framedConn{Conn: readConn{r: slow(bytes.NewReader(whole))}}
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, whole) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		c = &framedConn{Conn: readConn{r: slow(bytes.NewReader(append(whole, "GET / HTTP/1.1"...)))}}
		if got, err := io.ReadAll(c); err == nil || !bytes.HasPrefix(append(whole, "GET "...), got) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

type readConn struct {
	net.Conn
	r io.Reader
}

func (c readConn) Read(b []byte) (int, error) { return c.r.Read(b) }

// A stranger who speaks HTTP to the embedded broker is hung up on, and costs nothing.
func TestHTTPToTheBroker(t *testing.T) {
	b := start(t, t.TempDir())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c, err := net.Dial("tcp", b.Brokers()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(logtest.Limit))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the broker answered")
	} else if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		t.Error("the broker keeps the connection")
	}
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 256<<20 {
		t.Errorf("%d bytes were made room for", after.TotalAlloc-before.TotalAlloc)
	}
}
