package engine

// Whether the engine listens, found out without connecting to it: another server on the port could be taken for the
// engine, and the engine doesn't survive every connection that says nothing.

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// loopback is the engine's address, on the loopback of whatever network it runs in.
func loopback(port int) string { return net.JoinHostPort("127.0.0.1", fmt.Sprint(port)) }

// listening reports whether one of the processes, which /proc names so, listens on the port at 127.0.0.1.
func listening(port int, processes ...string) bool {
	socket, found := listener(port)
	return found && slices.ContainsFunc(processes, func(pid string) bool { return has(pid, socket) })
}

// listener finds the socket that listens on the port, as /proc names it among a process's files.
func listener(port int) (socket string, found bool) {
	table, err := os.Open("/proc/self/net/tcp")
	if err != nil {
		return "", false
	}
	defer table.Close()
	// The columns are: number, local and remote address in hex, state (0A listens), queues, timers, retransmits, user,
	// timeouts, inode.
	address := fmt.Sprintf("0100007F:%04X", port)
	for lines := bufio.NewScanner(table); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 9 && f[1] == address && f[3] == "0A" {
			return "socket:[" + f[9] + "]", true
		}
	}
	return "", false
}

// has reports whether a process has a file that /proc names so.
func has(pid, name string) bool {
	files, err := os.ReadDir(filepath.Join("/proc", pid, "fd"))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(files, func(f os.DirEntry) bool {
		target, err := os.Readlink(filepath.Join("/proc", pid, "fd", f.Name()))
		return err == nil && target == name
	})
}
