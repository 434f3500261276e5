package embedded

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// What speaks to the embedded broker must speak Kafka, whose requests begin with their length, and kfake makes room for whatever that says.
// The first four letters of an HTTP request are 1.2 GB, and any program or web page on this machine can send some. So lengths are looked at
// on the way in, and a connection with an impossible one ends.

// maxRequest bounds a request to the embedded broker. The largest that this package sends is a batch of records.
const maxRequest = 4 << 20

type framedListener struct{ net.Listener }

func (l framedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &framedConn{Conn: c}, nil
}

// framedConn follows the frames of what is read.
type framedConn struct {
	net.Conn
	head [4]byte // of the frame that begins; owned by the reader
	got  int     // bytes of head
	left int     // bytes of the frame's body
}

func (c *framedConn) Read(b []byte) (int, error) {
	if c.left > 0 {
		n, err := c.Conn.Read(b[:min(len(b), c.left)])
		c.left -= n
		return n, err
	}
	n, err := c.Conn.Read(b[:min(len(b), len(c.head)-c.got)])
	c.got += copy(c.head[c.got:], b[:n])
	if c.got < len(c.head) {
		return n, err
	}
	size := binary.BigEndian.Uint32(c.head[:])
	if size > maxRequest {
		return 0, fmt.Errorf("embedded broker: a request of %d bytes, at most %d are possible: %w", size, maxRequest, io.ErrUnexpectedEOF)
	}
	c.left, c.got = int(size), 0
	return n, err
}
