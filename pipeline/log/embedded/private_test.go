package embedded

// The broker is nobody's business but this process's.

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"countersign/pipeline/log"
	"countersign/pipeline/log/internal/logtest"
)

// Nothing of the log listens on TCP while records go through it.
func TestNoPort(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("looks into /proc")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(ownListeners(t)); n != 1 {
		t.Errorf("%d listeners seen while there is 1", n)
	}
	l.Close()
	b := start(t, t.TempDir())
	c := logtest.Open(t, b.config())
	topic := logtest.NewTopic(t, c, 1)
	p := logtest.NewProducer(t, c, log.ProducerConfig{})
	logtest.Send(t, p, topic, 0, "x")
	logtest.OnPartition(t, c, topic, func(ctx context.Context, p *log.Partition) {
		if msgs, err := p.Fetch(ctx); err != nil || len(msgs) != 1 {
			t.Error(msgs, err)
		}
	})
	if found := ownListeners(t); len(found) > 0 {
		t.Errorf("this process listens: %v", found)
	}
}

// ownListeners returns the lines of /proc/self/net/tcp* about sockets of this process that listen.
func ownListeners(t *testing.T) []string {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]bool{}
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
			own[target] = true
		}
	}
	var found []string
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		f, err := os.Open(table)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a machine without IPv6
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		const state, inode, listens = 3, 9, "0A"
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) > inode && fields[state] == listens && own["socket:["+fields[inode]+"]"] {
				found = append(found, lines.Text())
			}
		}
	}
	return found
}

// Files of an earlier version that others could read can't be read by them afterwards.
func TestOldFilesBecomePrivate(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	c := logtest.Open(t, b.config())
	logtest.Send(t, logtest.NewProducer(t, c, log.ProducerConfig{}), logtest.NewTopic(t, c, 1), 0, "x")
	c.Close()
	b.Close()
	seen := 0
	everything := func(f func(path string, info fs.FileInfo) error) {
		t.Helper()
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			return f(path, info)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	everything(func(path string, info fs.FileInfo) error { return os.Chmod(path, info.Mode().Perm()|0o055) })
	if err := keepPrivate(dir); err != nil {
		t.Fatal(err)
	}
	everything(func(path string, info fs.FileInfo) error {
		if seen++; info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return nil
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	start(t, dir)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v, %v", info.Mode(), err)
	}
	if seen < 5 {
		t.Errorf("only %d files", seen)
	}
}

// An end knows that the other has hung up, and one that was closed itself fails.
func TestHungUpInMemory(t *testing.T) {
	client, server := newMemoryConns()
	if client.HungUp() || server.HungUp() {
		t.Error("hung up from the beginning")
	}
	server.Close()
	if !client.HungUp() || server.HungUp() {
		t.Error("the peer's closing isn't seen, or one's own is")
	}
	client.Close()
	l := newMemoryListener()
	l.Close()
	if _, err := l.dial(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dial a closed listener: %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept from a closed listener: %v", err)
	}
}
