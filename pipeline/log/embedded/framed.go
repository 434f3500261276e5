package embedded

// What speaks to the broker must speak Kafka's protocol, whose requests begin with their length, and kfake makes room
// for whatever length it is sent. The first four letters of an HTTP request read as 1.2 GB, and any program or web
// page on this machine can send some. So the lengths are looked at on the way in, and a connection with an impossible
// one ends.

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// maxRequest bounds a request, in bytes. The largest that this service sends is a batch of records, below 1 MiB.
const maxRequest = 4 << 20

// framedListener accepts connections whose requests are looked at.
type framedListener struct{ net.Listener }

func (l framedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &framedConn{Conn: c}, nil
}

// framedConn follows the frames of what is read. Its fields are owned by the goroutine that reads.
type framedConn struct {
	net.Conn
	head [4]byte // length of the frame that begins
	got  int     // bytes of head that have come
	left int     // bytes of the frame's body that are still to come
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
		return 0, fmt.Errorf("embedded broker: a request of %d bytes, at most %d are possible: %w",
			size, maxRequest, io.ErrUnexpectedEOF)
	}
	c.left, c.got = int(size), 0
	return n, err
}
