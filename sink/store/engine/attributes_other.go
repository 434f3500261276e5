//go:build unix && !linux

package engine

import "syscall"

// childAttributes: its own process group, so that a Ctrl-C at the terminal reaches only the parent. Without a signal at the
// parent's death the child ends at the end of its standard input.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
