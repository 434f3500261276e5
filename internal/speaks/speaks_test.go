package speaks

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve answers what each connection says first, until the test ends.
func serve(t *testing.T, answer func(said string) string) func(context.Context) (net.Conn, error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var working sync.WaitGroup
	working.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			working.Go(func() {
				defer conn.Close()
				buffer := make([]byte, 4096)
				n, _ := conn.Read(buffer)
				if text := answer(string(buffer[:n])); text != "" {
					_, _ = io.WriteString(conn, text)
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		working.Wait()
	})
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String())
	}
}

// to answers what begins with words, and nothing else.
func to(words, answer string) func(string) string {
	return func(said string) string {
		if strings.HasPrefix(said, words) {
			return answer
		}
		return ""
	}
}

func TestLanguagesAreRecognised(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	dialSilent := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", silent.Addr().String())
	}
	away := func(context.Context) (net.Conn, error) { return nil, io.EOF }
	for _, c := range []struct {
		dial func(context.Context) (net.Conn, error)
		want Language
	}{
		{serve(t, to("GET", "HTTP/1.1 200 OK\r\n\r\n")), HTTP},
		{serve(t, func(string) string { return "HTTP/1.1 400 Bad Request\r\n\r\n" }), HTTP},
		{serve(t, to("GET", "HTTP/1.0 400 Bad Request\r\n\r\nPort 9000 is for clickhouse-client program\r\n")), ClickHouse},
		{serve(t, to("srvr", "Zookeeper version: 3.8.0")), ZooKeeper},
		{serve(t, to("srvr", "srvr is not executed because it is not in the whitelist.")), ZooKeeper},
		{serve(t, to(kafkaQuestion, "\x00\x00\x00\x0a"+kafkaNumber+"\x00\x00\x00\x00\x00\x00")), Kafka},
		{serve(t, to("\x16\x03", "\x15\x03\x03\x00\x02\x02\x28")), TLS},
		{serve(t, func(string) string { return "SSH-2.0-x\r\n" }), Unknown},
		{serve(t, func(string) string { return "" }), Closing},
		{dialSilent, Silence},
		{away, Nothing},
	} {
		if got := Ask(t.Context(), c.dial); got != c.want {
			t.Errorf("found %v, want %v", got, c.want)
		}
	}
}
