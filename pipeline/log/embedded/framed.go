package embedded

// What kfake is spared. It makes room for whatever length a request says it has (the first four letters of an HTTP
// request read as 1.2 GB), and ends the process on a kind of request that it doesn't know. Without Config.Address only
// this process can send it any of that; a bug here would still cost the process. So the length and the kind of each
// request are looked at on the way in, and a connection with an impossible one ends.

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// maxRequest bounds a request, in bytes. The largest that this service sends is a batch of records, below 1 MiB.
	maxRequest = 4 << 20
	// minRequest is the size of what every request begins with: kind, version and correlation id.
	minRequest = 8
)

// possible says whether kfake may see a request of that kind: what the service's clients and its tests send.
func possible(kind kmsg.Key) bool {
	switch kind {
	case kmsg.Produce, kmsg.Fetch, kmsg.ListOffsets, kmsg.Metadata, kmsg.OffsetCommit, kmsg.OffsetFetch,
		kmsg.FindCoordinator, kmsg.JoinGroup, kmsg.Heartbeat, kmsg.LeaveGroup, kmsg.SyncGroup, kmsg.ListGroups,
		kmsg.ApiVersions, kmsg.CreateTopics, kmsg.DeleteRecords, kmsg.DescribeConfigs:
		return true
	default:
		return false
	}
}

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
	head [6]byte // length of the frame that begins, and the kind of its request
	got  int     // bytes of head that have come
	left int     // bytes of the frame after head that are still to come
}

func (c *framedConn) Read(b []byte) (int, error) {
	if c.left > 0 {
		n, err := c.Conn.Read(b[:min(len(b), c.left)])
		c.left -= n
		return n, err
	}
	n, err := c.Conn.Read(b[:min(len(b), len(c.head)-c.got)])
	before := c.got
	c.got += copy(c.head[c.got:], b[:n])
	if refused := c.check(before); refused != nil {
		return 0, refused
	}
	return n, err
}

// check looks at what came of the head since there were only so many bytes of it.
func (c *framedConn) check(before int) error {
	size := binary.BigEndian.Uint32(c.head[:])
	if before < 4 && c.got >= 4 && (size < minRequest || size > maxRequest) {
		return fmt.Errorf("embedded broker: a request of %d bytes, from %d to %d are possible: %w",
			size, minRequest, maxRequest, io.ErrUnexpectedEOF)
	}
	if c.got < len(c.head) {
		return nil
	}
	kind := kmsg.Key(binary.BigEndian.Uint16(c.head[4:]))
	if !possible(kind) {
		return fmt.Errorf("embedded broker: a request of kind %d, which this service never sends: %w",
			kind, io.ErrUnexpectedEOF)
	}
	c.left, c.got = int(size)-2, 0
	return nil
}
