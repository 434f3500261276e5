package bench

// The service that is measured: one that runs already, or a private one that is started for the session, on free ports of
// loopback, with a data folder of its own that is removed afterwards.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	readyTimeout = 90 * time.Second
	stopTimeout  = 45 * time.Second // the service gives itself 30 s
)

// server is what load is sent to.
type server struct {
	base  *url.URL
	admin string // host:port of /metrics; empty: unknown

	// Of a private one:
	binary string
	args   []string
	dir    string // its data folder
	cmd    *exec.Cmd
	log    *logTail
	ended  chan struct{} // closed when the process has ended
	err    error         // of its end; read after ended
}

// privateConfig says which service to start.
type privateConfig struct {
	binary  string   // a countersign program
	certs   string   // folder of the sites' chains
	parent  string   // folder to make the data folder in
	flags   []string // further flags of serve
	logFile io.Writer
}

// startPrivate starts a service and waits until it is ready.
func startPrivate(ctx context.Context, c privateConfig) (*server, error) {
	if err := os.MkdirAll(c.parent, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(c.parent, "service-")
	if err != nil {
		return nil, err
	}
	s := &server{
		binary: c.binary, dir: dir, log: &logTail{to: c.logFile},
		args: append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", dir, "--cert-dir", c.certs}, c.flags...),
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

// start runs the program on its data folder.
func (s *server) start(ctx context.Context) error {
	cmd := exec.Command(s.binary, s.args...)
	cmd.SysProcAttr = childAttributes()
	out, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	ended, ready, started := make(chan struct{}), make(chan string, 1), make(chan error, 1)
	go func() {
		// The system ends the child with the thread that started it: this one, which stays until then.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			s.log.follow(out, ready)
			s.err = cmd.Wait()
			close(ended)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s serve: %w", s.binary, err)
	}
	s.cmd, s.ended = cmd, ended
	select {
	case line := <-ready:
		fields := logFields(line)
		s.base, s.admin = &url.URL{Scheme: "http", Host: fields["listen"]}, fields["admin"]
		return nil
	case <-s.ended:
		return fmt.Errorf("the private service ended before it was ready: %w; it said:\n%s", s.err, s.log.last())
	case <-time.After(readyTimeout):
		err = fmt.Errorf("the private service is not ready after %s; it said:\n%s", readyTimeout, s.log.last())
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.halt()
	return err
}

// halt ends the process, in order if it can.
func (s *server) halt() error {
	if s.cmd == nil {
		return nil
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // fails where it has ended
	select {
	case <-s.ended:
	case <-time.After(stopTimeout):
		_ = s.cmd.Process.Kill()
		<-s.ended
		return fmt.Errorf("the private service did not stop within %s and was killed; it said:\n%s", stopTimeout, s.log.last())
	}
	return nil
}

// stop ends a private service and removes what it stored. A running one is left alone.
func (s *server) stop() error {
	if s.cmd == nil {
		return nil
	}
	return errors.Join(s.halt(), s.remove())
}

func (s *server) remove() error { return os.RemoveAll(s.dir) }

// pid of a private service; 0 for another.
func (s *server) pid() int {
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// alive turns the end of a private service into the error that explains those of the requests.
func (s *server) alive() error {
	if s.cmd == nil {
		return nil
	}
	select {
	case <-s.ended:
		return fmt.Errorf("the private service ended: %w; it said:\n%s", s.err, s.log.last())
	default:
		return nil
	}
}

// dial makes a connection to the service.
func (s *server) dial() *conn { return &conn{base: s.base} }

// storeURL is that of a private service's embedded ClickHouse.
func (s *server) storeURL() (string, error) {
	text, err := os.ReadFile(filepath.Join(s.dir, "engine.url"))
	if err != nil {
		return "", fmt.Errorf("find the private service's ClickHouse: %w", err)
	}
	// The first line is the analysts', who only read; the second one is the service's.
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1], nil
}

// existing describes a service that runs already.
func existing(base, admin string) (*server, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("--url %q: write http://host:port", base)
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return &server{base: u, admin: admin}, nil
}

// logTail copies the log and keeps its last lines.
type logTail struct {
	to io.Writer // nil: nowhere

	mu    sync.Mutex
	lines []string
}

const keptLines = 15

// follow reads a log to its end, and sends the line that says that the service is ready.
func (l *logTail) follow(r io.Reader, ready chan<- string) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		line := scanner.Text()
		l.keep(line)
		if logFields(line)["msg"] == "ready" {
			select {
			case ready <- line:
			default:
			}
		}
	}
	_, _ = io.Copy(io.Discard, r) // a line too long must not stop the service
}

func (l *logTail) keep(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.to != nil {
		fmt.Fprintln(l.to, line)
	}
	l.lines = append(l.lines, line)
	if len(l.lines) > keptLines {
		l.lines = l.lines[1:]
	}
}

func (l *logTail) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// logFields reads the fields of a line of slog's text, those without spaces in their values.
func logFields(line string) map[string]string {
	fields := make(map[string]string)
	for _, field := range strings.Fields(line) {
		if key, value, ok := strings.Cut(field, "="); ok {
			fields[key] = value
		}
	}
	return fields
}
