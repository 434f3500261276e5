package fdpass

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// receiverArg makes the test binary a process that receives a connection and is killed while it holds it.
const receiverArg = "fdpass-receiver"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == receiverArg {
		conn, err := Dial(context.Background(), os.Args[2])
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, "ask\n")
		_, _ = conn.Read(make([]byte, 1)) // the rest of the answer stays unread
		_, _ = os.Stdout.WriteString("received\n")
		select {}
	}
	os.Exit(m.Run())
}

// serving passes connections to target at a socket whose path has the given length, until the test ends.
func serving(t *testing.T, path, target string) {
	t.Helper()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		err := Serve(l, func(ctx context.Context) (*net.TCPConn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", target)
			if err != nil {
				return nil, err
			}
			return c.(*net.TCPConn), nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
}

// listen serves each connection by handle until the test ends.
func listen(t *testing.T, handle func(*net.TCPConn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer c.Close(); handle(c.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func TestAConnectionIsPassedFromAnyFolder(t *testing.T) {
	echo := listen(t, func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	for _, folder := range []string{"short", strings.Repeat("deep/", 60)} {
		dir, err := os.MkdirTemp("", "fdpass") //nolint:usetesting // t.TempDir's name is too long for a socket
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, folder, "socket")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second one finds the file of the first
			t.Run(folder[:5], func(t *testing.T) {
				serving(t, path, echo)
				if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%v, %v", info.Mode(), err)
				}
				conn, err := Dial(t.Context(), path)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if _, err := io.WriteString(conn, "hello\n"); err != nil {
					t.Fatal(err)
				}
				if line, err := bufio.NewReader(conn).ReadString('\n'); line != "hello\n" {
					t.Errorf("%q, %v", line, err)
				}
			})
		}
	}
}

// A receiver that is killed with an answer unread resets nothing: the server sees the stream's end.
func TestAKilledReceiverIsNoReset(t *testing.T) {
	ended := make(chan error, 1)
	server := listen(t, func(c *net.TCPConn) {
		r := bufio.NewReader(c)
		_, _ = r.ReadString('\n')
		_, _ = c.Write(make([]byte, 1<<16))
		_, err := r.ReadByte()
		ended <- err
	})
	path := filepath.Join(t.TempDir(), "socket")
	serving(t, path, server)
	receiver := exec.Command(os.Args[0], receiverArg, path)
	out, err := receiver.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := receiver.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	if err := receiver.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = receiver.Wait() // reports the kill
	select {
	case err := <-ended:
		if !errors.Is(err, io.EOF) {
			t.Errorf("the server saw %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the server did not see the end")
	}
}

func TestErrorsSayWhyThereIsNoConnection(t *testing.T) {
	var network net.Error
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	path := filepath.Join(t.TempDir(), "socket")
	serving(t, path, nobody)
	if _, err := Dial(t.Context(), path); !errors.As(err, &network) || !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
	if _, err := Dial(t.Context(), path+"2"); !errors.As(err, &network) || !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Whoever waits for a server that says nothing goes when his context ends.
func TestDialObeysItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	l, err := Listen(path) // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
