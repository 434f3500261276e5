package fdpass

// The side that receives connections.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is a connection that was received. Its methods are the TCP connection's; Close also tells the process that
// passed it.
type Conn struct {
	*net.TCPConn
	asked *net.UnixConn // open for as long as the connection is in use
}

// Close closes the connection.
func (c *Conn) Close() error { return errors.Join(c.TCPConn.Close(), c.asked.Close()) }

// Dial asks at the Unix socket at path for a connection. The caller closes it. An error is a net.Error: whoever serves
// path may be away, or may have found nobody to connect to.
func Dial(ctx context.Context, path string) (*Conn, error) {
	where := &net.UnixAddr{Name: path, Net: "unix"}
	wrong := func(err error) error { return &net.OpError{Op: "dial", Net: "unix", Addr: where, Err: err} }
	name, release, err := address(path)
	if err != nil {
		return nil, wrong(err)
	}
	defer release()
	c, err := new(net.Dialer).DialContext(ctx, "unix", name)
	if err != nil {
		return nil, wrong(errors.Unwrap(err))
	}
	asked := c.(*net.UnixConn)
	conn, err := receive(ctx, asked)
	if err != nil {
		asked.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, wrong(err)
	}
	return &Conn{TCPConn: conn, asked: asked}, nil
}

// longestReason bounds what is read of why there is no connection, in bytes.
const longestReason = 512

// receive reads the answer, which is one message.
func receive(ctx context.Context, asked *net.UnixConn) (*net.TCPConn, error) {
	stop := context.AfterFunc(ctx, func() { _ = asked.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	text, rights := make([]byte, longestReason), make([]byte, unix.CmsgSpace(4))
	n, rightsLen, _, _, err := asked.ReadMsgUnix(text, rights)
	switch {
	case err != nil:
		return nil, err
	case n == 0:
		return nil, errors.New("no answer: the process that passes connections has ended")
	case text[0] == refused:
		return nil, errors.New(string(text[1:n]))
	case text[0] != passed:
		return nil, fmt.Errorf("an answer that begins with %q", text[0])
	}
	messages, err := unix.ParseSocketControlMessage(rights[:rightsLen])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("an answer with %d control messages: %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("an answer with %d descriptors: %w", len(fds), err)
	}
	file := os.NewFile(uintptr(fds[0]), "passed connection")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a %T was passed, and no TCP connection", conn), conn.Close())
	}
	return tcp, nil
}
