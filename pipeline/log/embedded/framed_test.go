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

// Frames go through in pieces of any size, and nothing of one that is too long, too short, or of an unknown kind.
func TestFrames(t *testing.T) {
	whole := []byte("\x00\x00\x00\x08\x00\x00abcdef\x00\x00\x00\x09\x00\x12abcdefg")
	for name, slow := range map[string]func(io.Reader) io.Reader{
		"at once":     func(r io.Reader) io.Reader { return r },
		"by the byte": iotest.OneByteReader,
	} {
		c := &framedConn{Conn: readConn{r: slow(bytes.NewReader(whole))}}
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, whole) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		for _, bad := range []string{
			"GET / HTTP/1.1", "\x00\x00\x00\x07\x00\x00abcde",
			"\x00\x00\x00\x08\x27\x0fabcdef", "\x00\x00\x00\x08\xff\xffabcdef",
		} {
			sent := append(bytes.Clone(whole), bad...)
			c = &framedConn{Conn: readConn{r: slow(bytes.NewReader(sent))}}
			got, err := io.ReadAll(c)
			if err == nil || !bytes.HasPrefix(sent, got) || len(got) > len(whole)+5 {
				t.Errorf("%s: after %q: %q, %v", name, bad, got, err)
			}
		}
	}
}

type readConn struct {
	net.Conn
	r io.Reader
}

func (c readConn) Read(b []byte) (int, error) { return c.r.Read(b) }

// Who doesn't speak the service's part of Kafka's protocol is hung up on, costs nothing and ends nothing.
func TestStrangersAreHungUpOn(t *testing.T) {
	for name, said := range map[string]string{
		"HTTP":         "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"API key 9999": "\x00\x00\x00\x0a\x27\x0f\x00\x00\x00\x00\x00\x01\x00\x00",
		"TLS":          "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	} {
		for way, address := range map[string]string{"in memory": "", "TCP": "127.0.0.1:0"} {
			t.Run(name+" "+way, func(t *testing.T) {
				b, err := Start(logtest.Context(t), Config{Dir: t.TempDir(), Address: address, Logger: logtest.Logger(t)})
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				hungUpOn(t, b, said)
				logtest.Open(t, b.config()).Close() // the broker still answers
			})
		}
	}
}

func hungUpOn(t *testing.T, b *Broker, said string) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c, err := b.dialSelf(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(logtest.Limit))
	_, _ = io.WriteString(c, said) // it may be hung up on before the end
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the broker answered")
	} else if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		t.Error("the broker keeps the connection")
	}
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 256<<20 {
		t.Errorf("%d bytes were made room for", after.TotalAlloc-before.TotalAlloc)
	}
}
