package service

import "syscall"

// childAttributes put the service into a process group of its own, since an interrupt at the terminal is for the
// program that started it, which stops it in order. They also have the system stop the service when that program is
// killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
