package bench

import "syscall"

// childAttributes put a service into a process group of its own, since an interrupt at the terminal is for the bench, which stops the
// service in order; and have it stop when the bench is killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
