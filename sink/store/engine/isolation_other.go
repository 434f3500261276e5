//go:build unix && !linux

package engine

// Where the kernel has neither namespaces nor Landlock, nor a signal for the parent's death.

import (
	"errors"
	"os"
	"syscall"
)

// network says in which network a child runs.
type network int

const sharedNetwork network = 0 // the parent's

func separateNetworks() []network { return nil }

// childAttributes: its own process group, so that a Ctrl-C at the terminal reaches only the parent. Without a signal at
// the parent's death the child ends at the end of its standard input.
func childAttributes(network) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func ownProgram() string {
	if exe, err := os.Executable(); err == nil {
		return exe
	}
	return os.Args[0]
}

func raiseLoopback() error { return errors.ErrUnsupported }

func dropRights() error { return nil }

func confine(string, ...string) error { return errors.ErrUnsupported }

// changed is not known alike everywhere: the rest of a file's identity must do.
func changed(*syscall.Stat_t) int64 { return 0 }
