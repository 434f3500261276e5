// Package clustertest runs several embedded engines as a cluster: each is a ClickHouse shard with one replica, and there
// is no Keeper. The engines listen on loopback, where other engines can't be reached without the cluster's password.
//
// It must not know Kafka, HTTP, records or the stages.
package clustertest

import (
	"context"
	"crypto/rand"
	"encoding/xml"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"countersign/sink/store/engine"
)

// Name is the cluster's name.
const Name = "pair"

// user is the one as whom programs and the engines log in.
const user = "node"

// Cluster is running engines. Its methods are called by the test's goroutine.
type Cluster struct {
	t        testing.TB
	engines  []*engine.Engine
	dirs     []string
	hosts    []string
	password string
	held     map[int]*os.File // the configurations that killed servers wait for
}

// Start starts n engines, which end with the test. The test binary must be able to run engine.Main. grants are what the
// user of the cluster may do, as in engine.Config.
func Start(t testing.TB, n int, grants []string) *Cluster {
	t.Helper()
	c := &Cluster{t: t, password: rand.Text(), held: make(map[int]*os.File)}
	for range n {
		dir := t.TempDir()
		logger := slog.New(slog.NewTextHandler(t.Output(), nil))
		e, err := engine.Start(t.Context(), engine.Config{Dir: dir, SharedNetwork: true, MemoryLimit: 1 << 30, Logger: logger})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := e.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		u, err := url.Parse(e.URL())
		c.must(err)
		c.engines, c.dirs, c.hosts = append(c.engines, e), append(c.dirs, dir), append(c.hosts, u.Host)
	}
	// The ports are known now. ClickHouse adds to its configuration what is in the folders engine.d and users.d; a child
	// that is started again reads it.
	for i, dir := range c.dirs {
		c.write(filepath.Join(dir, "engine.d", "cluster.xml"), c.servers())
		c.write(filepath.Join(dir, "users.d", "cluster.xml"), c.users(grants))
		c.signal(i, syscall.SIGKILL)
	}
	return c
}

// servers is the list of the cluster's servers.
func (c *Cluster) servers() string {
	var b strings.Builder
	for _, host := range c.hosts {
		name, port, _ := strings.Cut(host, ":")
		fmt.Fprintf(&b, "<shard><replica><host>%s</host><port>%s</port><user>%s</user><password>%s</password></replica></shard>", name, port, user, c.password)
	}
	return "<clickhouse><remote_servers><" + Name + ">" + b.String() + "</" + Name + "></remote_servers></clickhouse>"
}

func (c *Cluster) users(grants []string) string {
	var b strings.Builder
	for _, g := range grants {
		b.WriteString("<query>")
		_ = xml.EscapeText(&b, []byte("GRANT "+g)) // a strings.Builder takes everything
		b.WriteString("</query>")
	}
	return "<clickhouse><users><" + user + "><password>" + c.password + "</password><networks><ip>127.0.0.1</ip></networks>" +
		"<profile>default</profile><quota>default</quota><grants>" + b.String() + "</grants></" + user + "></users></clickhouse>"
}

func (c *Cluster) write(path, text string) {
	c.t.Helper()
	c.must(os.MkdirAll(filepath.Dir(path), 0o700))
	c.must(os.WriteFile(path, []byte(text), 0o600))
}

// URL names all servers, the first ClickHouse shard first.
func (c *Cluster) URL() string { return c.url(strings.Join(c.hosts, ",")) }

// ServerURL names one server alone.
func (c *Cluster) ServerURL(i int) string { return c.url(c.hosts[i]) }

func (c *Cluster) url(hosts string) string {
	return "clickhouse://" + user + ":" + c.password + "@" + hosts + "/default?send_profile_events=0"
}

// Kill kills a server with SIGKILL. Its successor waits for its configuration until StartAgain.
func (c *Cluster) Kill(i int) {
	c.t.Helper()
	config := c.config(i)
	c.must(os.Rename(config, config+".kept"))
	c.must(syscall.Mkfifo(config, 0o600))
	fifo, err := os.OpenFile(config, os.O_RDWR, 0) // while it is open, a reader finds no end
	c.must(err)
	c.held[i] = fifo
	c.signal(i, syscall.SIGKILL)
}

// Stop stops a server with SIGSTOP: it accepts connections and says nothing. It can be killed then.
func (c *Cluster) Stop(i int) {
	c.t.Helper()
	c.signal(i, syscall.SIGSTOP)
}

// StartAgain lets the successor of a killed server start.
func (c *Cluster) StartAgain(i int) {
	c.t.Helper()
	config := c.config(i)
	text, err := os.ReadFile(config + ".kept")
	c.must(err)
	c.must(os.Rename(config+".kept", config)) // for whoever comes later
	_, err = c.held[i].Write(text)
	c.must(err)
	c.must(c.held[i].Close())
	delete(c.held, i)
}

// config is the file that an engine reads first.
func (c *Cluster) config(i int) string { return filepath.Join(c.dirs[i], "engine.xml") }

func (c *Cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// signal sends a signal to the process that is a server.
func (c *Cluster) signal(i int, s syscall.Signal) {
	c.t.Helper()
	mark := fmt.Sprintf(`"Dir":%q`, c.dirs[i])
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
		c.must(err)
		for _, p := range processes {
			text, err := os.ReadFile(p)
			if err != nil || !strings.Contains(string(text), engine.ChildArg+"\x00") || !strings.Contains(string(text), mark) {
				continue
			}
			var pid int
			_, err = fmt.Sscanf(p, "/proc/%d/cmdline", &pid)
			c.must(err)
			c.must(syscall.Kill(pid, s))
			return
		}
	}
	c.t.Fatalf("no engine runs on %s", c.dirs[i])
}
