//go:build unix

package log

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// hungUp reports whether the peer has closed the idle connection, without waiting and without taking bytes from it.
func (lc *leaderConn) hungUp() bool {
	sc, ok := lc.nc.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		gone = n == 0 && err == nil || err != nil && err != unix.EAGAIN && err != unix.EWOULDBLOCK && err != unix.EINTR
	})
	return gone || err != nil
}
