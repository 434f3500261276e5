package bench

// The service that is measured: one that runs already, or a private one that is started for the session, on free ports
// of loopback, with a data folder of its own that is removed afterwards.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"countersign/internal/service"
)

// server is what load is sent to.
type server struct {
	base  *url.URL
	admin string // host:port of /metrics; empty: unknown

	// Of a private one:
	config  service.Config
	dir     string // its data folder
	process *service.Process
}

// privateConfig says which service to start.
type privateConfig struct {
	binary  string   // a countersign program
	certs   string   // folder of the sites' chains
	parent  string   // folder to make the data folder in
	flags   []string // further flags of serve
	logFile io.Writer

	accounting bool // the embedded engine keeps account of its work
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
	s := &server{dir: dir, config: service.Config{
		Binary: c.binary, Args: append([]string{"--data-dir", dir, "--cert-dir", c.certs}, c.flags...), Log: c.logFile,
	}}
	if c.accounting {
		err = writeAccountFiles(dir)
	}
	if err == nil {
		err = s.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

// start runs the program on its data folder.
func (s *server) start(ctx context.Context) error {
	p, err := service.Start(ctx, s.config)
	if err != nil {
		return err
	}
	s.process, s.base, s.admin = p, &url.URL{Scheme: "http", Host: p.API}, p.Admin
	return nil
}

// restart ends the program, in order if it can, and runs it again.
func (s *server) restart(ctx context.Context) error {
	if err := s.process.Stop(); err != nil {
		return err
	}
	return s.start(ctx)
}

// stop ends a private service and removes what it stored. A running one is left alone.
func (s *server) stop() error {
	if s.process == nil {
		return nil
	}
	return errors.Join(s.process.Stop(), s.remove())
}

func (s *server) remove() error { return os.RemoveAll(s.dir) }

// pid of a private service; 0 for another.
func (s *server) pid() int {
	if s.process == nil {
		return 0
	}
	return s.process.PID()
}

// alive turns the end of a private service into the error that explains those of the requests.
func (s *server) alive() error {
	if s.process == nil {
		return nil
	}
	return s.process.Alive()
}

// dial makes a connection to the service.
func (s *server) dial() *conn { return &conn{base: s.base} }

// dialFrom makes a connection to the service from one of this machine's addresses.
func (s *server) dialFrom(address netip.Addr) *conn { return &conn{base: s.base, from: address} }

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
