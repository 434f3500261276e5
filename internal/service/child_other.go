//go:build !linux

package service

import "syscall"

// childAttributes put the service into a process group of its own, since an interrupt at the terminal is for the
// program that started it, which stops it in order. If that program is killed, the service is left behind.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
