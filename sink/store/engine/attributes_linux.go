package engine

// What ties the child to its parent on Linux.

import "syscall"

// childAttributes: its own process group, so that a Ctrl-C at the terminal reaches only the parent, which ends the
// child when everything that uses it has ended; and death with its parent, however that dies.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
