package bench

// What thousands of connections need of the system: file descriptors, and ports.

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// lateBinding lets the system choose a connection's port when it knows where the connection leads. Ports that are
// chosen before, as for a listener, are used up after some 28,000 connections of an address in a minute.
func lateBinding(_, _ string, raw syscall.RawConn) error {
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); err != nil {
		return err
	}
	return failed
}

// descriptors raises the number of files that this process, and those it starts from then on, may have open, to want if
// the system allows that. It returns how many there may be.
func descriptors(want int) (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("ask for the limit of open files: %w", err)
	}
	if limit.Cur >= uint64(want) {
		return int(min(limit.Cur, 1<<30)), nil
	}
	raised := syscall.Rlimit{Cur: uint64(want), Max: max(limit.Max, uint64(want))} // beyond the hard limit only root may
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
		return want, nil
	}
	raised = syscall.Rlimit{Cur: min(limit.Max, uint64(want)), Max: limit.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
		return int(limit.Cur), nil //nolint:nilerr // fewer connections will do
	}
	return int(raised.Cur), nil
}
