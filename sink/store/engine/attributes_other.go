//go:build unix && !linux

package engine

// What ties the child to its parent where the kernel has no signal for it.

import "syscall"

// childAttributes: its own process group, so that a Ctrl-C at the terminal reaches only the parent. Without a signal at
// the parent's death the child ends at the end of its standard input.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
