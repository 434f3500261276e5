package main

// A hostile neighbour: another user of the machine, beside a running service. He reads and writes what he can reach, logs
// in with wrong names and passwords, and sends what no protocol knows to every port that the service's processes have
// open. Nothing is read, nothing changes, and no part is started again.

import (
	"crypto/rand"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	neighbourArg = "hostile-neighbour" // the first argument under which the test binary is the neighbour
	neighbourUID = 65534
	wrongLogins  = 100 // at each port
)

func TestHostileNeighbour(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can start a process as another user")
	}
	w := newWorld(t)
	sign := w.ecdsa("ec.example")
	data := t.TempDir()
	n := start(t, append(w.args(), "--data-dir", data)...)
	before := good("before", 1500, sign)
	id := n.upload("ec.example", before)
	n.expect(id, before)

	family := descendants(n.PID())
	if len(family) < 2 {
		t.Fatalf("the service has the processes %v, and no engine", family)
	}
	ports, meant := openPorts(t, family), []string{portOf(t, n.API), portOf(t, n.Admin)}
	for _, port := range meant {
		if !slices.Contains(ports, port) {
			t.Fatalf("port %s is not among the open ports %v", port, ports)
		}
	}
	if len(ports) > len(meant) {
		t.Errorf("the ports %v are open, and only %v are meant to be", ports, meant)
	}
	files := snapshot(t, data)
	// The neighbour may look anywhere: no folder above the data stops him.
	openFolders(t, data)
	cmd := exec.Command("/proc/self/exe", neighbourArg, data, strings.Join(ports, ","))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: neighbourUID, Gid: neighbourUID}}
	out, err := cmd.CombinedOutput()
	t.Logf("the neighbour at the ports %v:\n%s", ports, out)
	if err != nil {
		t.Error(err)
	}

	if now := descendants(n.PID()); !slices.Equal(now, family) {
		t.Errorf("the processes were %v and are %v", family, now)
	}
	select {
	case <-n.Done():
		t.Fatal("the service ended")
	default:
	}
	if log := n.logs.String(); strings.Contains(log, "starting it again") {
		t.Error("a part was started again")
	}
	for name, mode := range snapshot(t, data) {
		if was, ok := files[name]; ok && was != mode {
			t.Errorf("%s had mode %v and has %v", name, was, mode)
		}
	}
	n.expect(id, before)
	after := good("after", 1500, sign)
	n.expect(n.upload("ec.example", after), after)
	n.stop()
}

func portOf(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	must(t, err)
	return port
}

// descendants are a process and those below it, by number.
func descendants(pid int) []int {
	all := []int{pid}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		for child := range strings.FieldsSeq(string(text)) {
			if n, err := strconv.Atoi(child); err == nil {
				all = append(all, descendants(n)...)
			}
		}
	}
	slices.Sort(all)
	return all
}

// openPorts are the TCP ports on which any of the processes listens in this machine's network.
func openPorts(t *testing.T, processes []int) (ports []string) {
	t.Helper()
	sockets := make(map[string]bool)
	for _, pid := range processes {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		must(t, err)
		for _, f := range files {
			if target, err := os.Readlink(f); err == nil && strings.HasPrefix(target, "socket:[") {
				sockets[strings.Trim(target, "socket:[]")] = true
			}
		}
	}
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(table)
		must(t, err)
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != "0A" || !sockets[f[9]] {
				continue
			}
			_, port, _ := strings.Cut(f[1], ":")
			number, err := strconv.ParseUint(port, 16, 16)
			must(t, err)
			ports = append(ports, strconv.FormatUint(number, 10))
		}
	}
	return ports
}

// snapshot is every file of a folder with its mode.
func snapshot(t *testing.T, dir string) map[string]fs.FileMode {
	t.Helper()
	modes := make(map[string]fs.FileMode)
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil {
			if info, err := entry.Info(); err == nil {
				modes[path] = info.Mode()
			}
		}
		return nil // files come and go meanwhile
	})
	return modes
}

// openFolders lets everybody pass through the test's own folders down to dir, and through dir itself, as where an
// operator made it with wide rights.
func openFolders(t *testing.T, dir string) {
	t.Helper()
	for ; dir != os.TempDir() && //nolint:usetesting // its parent is meant
		dir != "/"; dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755))
	}
}

// neighbour is the hostile process. It prints what it tried, and fails if anything succeeded that must not.
func neighbour(args []string) int {
	failures := 0
	fail := func(format string, args ...any) {
		failures++
		fmt.Printf("FAIL: "+format+"\n", args...)
	}
	data, ports := args[0], strings.Split(args[1], ",")
	seen := 0
	_ = filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		seen++
		if err != nil || path == data {
			return nil //nolint:nilerr // what can't be looked at is as it should be
		}
		if f, err := os.Open(path); err == nil {
			f.Close()
			fail("%s can be read", path)
		}
		if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
			f.Close()
			fail("%s can be written", path)
		}
		return nil
	})
	fmt.Printf("looked at %d names in the data folder\n", seen)
	for _, path := range []string{"clickhouse/engine.sock", "engine.url", "clickhouse/users.xml"} {
		if c, err := net.Dial("unix", filepath.Join(data, path)); err == nil {
			c.Close()
			fail("%s can be connected to", path)
		}
	}
	if err := os.WriteFile(filepath.Join(data, "planted"), nil, 0o600); err == nil {
		fail("a file can be planted")
	}
	for _, port := range ports {
		sent := 0
		for i := range wrongLogins {
			for _, bytes := range hostileBytes(i) {
				if err := throw(port, bytes, i%3 == 0); err == nil {
					sent++
				}
			}
		}
		fmt.Printf("port %s: %d connections\n", port, sent)
		if sent == 0 {
			fail("port %s was never reached", port)
		}
	}
	return min(failures, 1)
}

// hostileBytes are what is sent on connections of their own in round i.
func hostileBytes(i int) [][]byte {
	text := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	login := slices.Concat([]byte{0}, text("ClickHouse"), []byte{26, 7}, []byte{0xb0, 0xa9, 3}, text("default"),
		text([]string{"default", "countersign", "analyst", "root"}[i%4]), text(fmt.Sprint("wrong", i)))
	random := make([]byte, 300)
	_, _ = rand.Read(random)
	all := [][]byte{
		login, login[:len(login)/2], // a wrong login, and half of one
		nil, {0}, {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, // ClickHouse's hello with an endless name
		random,
		{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, // the beginning of TLS
		[]byte("GET / HTTP/1.1\r\nHost: " + strings.Repeat("x", 200)), // an HTTP head that doesn't end
		[]byte("GET /?query=SELECT%201 HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: default\r\n\r\n"),
		{0xff, 0xff, 0xff, 0xff, 0, 0},                                              // a frame of Kafka of an absurd length
		{0x7f, 0xff, 0xff, 0xff, 0x27, 0x0f, 0, 0, 0},                               // and another one
		{0, 0x03, 0, 8, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, // TURN over TCP, which a browser may send
	}
	return append(all, kafkaFrame(9999), kafkaFrame(int16(i)))
}

// kafkaFrame is a request of Kafka's protocol with an API key and nothing in it.
func kafkaFrame(key int16) []byte {
	body := []byte{byte(key >> 8), byte(key), 0, 0, 0, 0, 0, 1, 0, 1, 'x'}
	return append([]byte{0, 0, 0, byte(len(body))}, body...)
}

// throw sends bytes to a port of loopback and ends the connection, by a reset or in order.
func throw(port string, bytes []byte, reset bool) error {
	c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_, _ = c.Write(bytes)
	if reset {
		return c.(*net.TCPConn).SetLinger(0)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) // whether it answers doesn't matter
	_, _ = io.Copy(io.Discard, c)
	return nil
}
