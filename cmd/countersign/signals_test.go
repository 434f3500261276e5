package main

// What signals do to a running service, and what it reads again.

import (
	"bytes"
	"crypto/elliptic"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"countersign/testsite"
)

func TestAHangUpReadsSettingsAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "countersign.yaml")
	write := func(text string) { must(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("max-pairs: 10\nlog-level: info\n")
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	bind(flags)
	recordTexts(flags)
	must(t, flags.Parse([]string{"--config", file}))
	started, err := load(flags)
	must(t, err)

	var said bytes.Buffer
	level := new(slog.LevelVar)
	r := &reloader{
		log: slog.New(slog.NewTextHandler(&said, nil)), level: level, started: started,
		load: func() (*config, error) { return load(flags) },
	}
	hangUp := func(want ...string) {
		t.Helper()
		said.Reset()
		r.reload()
		for _, w := range want {
			if !strings.Contains(said.String(), w) {
				t.Errorf("it doesn't say %q:\n%s", w, said.String())
			}
		}
	}
	hangUp("read=[log-level]", "log_level=INFO", "needs_restart=[]")
	write("max-pairs: 20\nlog-level: debug\nkafka-password: secret\n")
	hangUp("log_level=DEBUG", `needs_restart="[max-pairs kafka-password]"`)
	if level.Level() != slog.LevelDebug || strings.Contains(said.String(), "secret") {
		t.Errorf("level %s, and it said\n%s", level, said.String())
	}
	write("log-level: loud\nmax-pears: 1\n")
	hangUp("level=ERROR", "log_level=DEBUG", "read=[]", "--log-level", "max-pears")

	write("log-level: warn\n")
	var broken error
	calls := 0
	r.add("tls-cert, tls-key", func() error { calls++; return broken })
	hangUp("log_level=WARN", `read="[log-level tls-cert, tls-key]"`)
	broken = errors.New("no such file")
	hangUp("level=ERROR", `setting="tls-cert, tls-key"`, "no such file", "read=[log-level]")
	if calls != 2 {
		t.Errorf("the file was read %d times", calls)
	}
}

// From its first work to its end a service lives through any number of signals that are not meant to end it.
func TestSignalsThatDoNotEndTheService(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	data, dir := filepath.Join(t.TempDir(), "data"), t.TempDir()
	own, err := w.ca.NewSite("localhost", testsite.SiteConfig{Curve: elliptic.P256()})
	must(t, err)
	cert, err := own.WriteChain(dir)
	must(t, err)
	must(t, own.WriteKeys(dir))
	keys, err := filepath.Glob(filepath.Join(dir, "*key*"))
	must(t, err)
	if len(keys) != 1 {
		t.Fatalf("the key is one of %q", keys)
	}
	logs := new(logs)
	cmd := exec.Command(os.Args[0], append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", data,
		"--tls-cert", cert, "--tls-key", keys[0]}, w.args()...)...)
	cmd.Env, cmd.Stderr = append(os.Environ(), runAsProgram+"=1"), logs
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	// until sends signals while it waits.
	until := func(what string, signals []syscall.Signal, done func() bool) {
		t.Helper()
		for end := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
			for _, s := range signals {
				_ = cmd.Process.Signal(s) // fails where the process has ended
			}
			select {
			case err := <-ended:
				t.Fatalf("the process ended before %s: %v\n%s", what, err, logs)
			default:
			}
			if time.Now().After(end) {
				t.Fatalf("no %s\n%s", what, logs)
			}
		}
	}
	harmless := []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE}
	// Before it makes the folder it has done nothing yet, and the kernel's default may still hold.
	until("data", nil, func() bool { _, err := os.Stat(data); return err == nil })
	admin := regexp.MustCompile(`msg=ready .*admin=(\S+)`)
	until("ready", harmless, func() bool { return admin.MatchString(logs.String()) })
	until("reload of everything", harmless, func() bool { return strings.Contains(logs.String(), `read="[log-level tls-cert, tls-key]"`) })
	until("readiness", nil, func() bool {
		r, err := http.Get("http://" + admin.FindStringSubmatch(logs.String())[1] + "/readyz")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	for end := time.After(patience); ; {
		_ = cmd.Process.Signal(syscall.SIGHUP) // fails where the process has ended
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the service ended with %v\n%s", err, logs)
			}
			return
		case <-end:
			t.Fatalf("the service doesn't stop\n%s", logs)
		case <-time.After(time.Millisecond):
		}
	}
}

// Who read the service's log goes away: the service goes on.
func TestTheLogsReaderGoesAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	read, write, err := os.Pipe()
	must(t, err)
	cmd := exec.Command(os.Args[0], append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--log-level", "debug", "--data-dir", t.TempDir()}, w.args()...)...)
	cmd.Env, cmd.Stderr = append(os.Environ(), runAsProgram+"=1"), write
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	must(t, write.Close())
	admin := regexp.MustCompile(`msg=ready .*admin=(\S+)`)
	var text []byte
	for part := make([]byte, 4096); !admin.Match(text); {
		n, err := read.Read(part)
		if text = append(text, part[:n]...); err != nil {
			t.Fatalf("it ended: %v\n%s", err, text)
		}
	}
	must(t, read.Close())
	address := string(admin.FindSubmatch(text)[1])
	for range 20 { // each has the service write a line
		must(t, cmd.Process.Signal(syscall.SIGHUP))
		r, err := http.Get("http://" + address + "/livez")
		must(t, err)
		_ = r.Body.Close()
	}
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-ended:
		must(t, err)
	case <-time.After(patience):
		t.Fatal("the service doesn't stop")
	}
}
