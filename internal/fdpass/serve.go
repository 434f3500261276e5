package fdpass

// The side that passes connections. It keeps its own descriptor of each, and the Unix connection over which it was
// asked for. The end of the Unix connection says that the receiver closed the passed one, or died.

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	passed  = 'K' // the first byte of an answer that carries a connection
	refused = 'E' // the first byte of an answer that says why there is none
)

// endTimeout bounds how long a connection whose receiver is gone is read to its end.
const endTimeout = 30 * time.Second

// Serve passes a connection that dial makes to everybody who connects to l, until l is closed. dial's context ends when
// the one who asked goes away. Serve returns when all connections that it passed are closed.
func Serve(l *net.UnixListener, dial func(context.Context) (*net.TCPConn, error)) error {
	var clients sync.WaitGroup
	defer clients.Wait()
	for {
		client, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			if passing(err) {
				time.Sleep(10 * time.Millisecond)
				continue
			}
			return err
		}
		clients.Go(func() { serve(client, dial) })
	}
}

// passing reports an accept that failed for want of descriptors or memory, or because the client was gone already.
func passing(err error) bool {
	for _, e := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS, unix.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// serve passes one connection, and ends it when its receiver is gone.
func serve(client *net.UnixConn, dial func(context.Context) (*net.TCPConn, error)) {
	defer client.Close()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		_, _ = client.Read(make([]byte, 1)) // the receiver says nothing: this returns at its end
	}()
	conn, err := dial(ctx)
	if err != nil {
		_, _ = client.Write(append([]byte{refused}, err.Error()...)) // fails when nobody waits any more
		client.Close()
		<-ctx.Done()
		return
	}
	defer end(conn)
	if err := pass(client, conn); err != nil {
		client.Close()
	}
	<-ctx.Done()
}

// pass sends conn's descriptor. It takes care not to use File, which may make the shared description blocking.
func pass(client *net.UnixConn, conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Control(func(fd uintptr) {
		_, _, sendErr = client.WriteMsgUnix([]byte{passed}, unix.UnixRights(int(fd)), nil)
	})
	return errors.Join(err, sendErr)
}

// end ends the stream and reads what the server still says, so that the server meets no reset.
func end(conn *net.TCPConn) {
	defer conn.Close()
	if errors.Join(conn.SetDeadline(time.Now().Add(endTimeout)), conn.CloseWrite()) == nil {
		_, _ = io.Copy(io.Discard, conn)
	}
}
