package bench

// The sites of the attacks, and the settings by which the service finds them. All names lead to loopback: sites that
// serve a certificate, one that accepts and says nothing, one that doesn't accept, and one where nobody listens.

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"countersign/testsite"
)

// attackSites is all of them.
type attackSites struct {
	ca    *testsite.CA
	dir   string // of the files
	hosts []string
	ends  []func()

	silentNames []string // sites that accept a connection and say nothing, or don't accept
	unreachable string   // a site where nobody listens, with a long name
	valid       []*testsite.Site
}

const (
	nobodyListens  = "127.0.0.1:1"
	patienceToFill = 200 * time.Millisecond
)

// newAttackSites makes a folder for the sites' files in parent.
func newAttackSites(ca *testsite.CA, parent string) (*attackSites, error) {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, "sites-")
	if err != nil {
		return nil, err
	}
	label := strings.Repeat("unreachable-", 5) + "x"
	s := &attackSites{ca: ca, dir: dir, unreachable: strings.Join([]string{label, label, label, label[:47], "example"}, ".")}
	s.lead(s.unreachable, nobodyListens)
	return s, errors.Join(os.Mkdir(s.certs(), 0o755), ca.WriteRoots(s.roots()))
}

func (s *attackSites) certs() string { return filepath.Join(s.dir, "certs") }
func (s *attackSites) roots() string { return filepath.Join(s.dir, "roots.pem") }

// lead lets the service look for a name at an address.
func (s *attackSites) lead(name, address string) { s.hosts = append(s.hosts, name+"="+address) }

// serve makes a site that serves a certificate for a key.
func (s *attackSites) serve(name string, key crypto.Signer) (*testsite.Site, error) {
	site, err := s.ca.NewSite(name, testsite.SiteConfig{Keys: []crypto.Signer{key}})
	if err != nil {
		return nil, err
	}
	address, err := site.Serve()
	if err != nil {
		return nil, err
	}
	s.ends = append(s.ends, site.Close)
	s.lead(name, address)
	return site, nil
}

// onFile makes a site that is known by a file. Its key needn't sign.
func (s *attackSites) onFile(name string, key crypto.Signer) error {
	site, err := s.ca.NewSite(name, testsite.SiteConfig{Keys: []crypto.Signer{key}})
	if err == nil {
		_, err = site.WriteChain(s.certs())
	}
	return err
}

// addValid makes n sites that serve a certificate.
func (s *attackSites) addValid(n int) error {
	for i := range n {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		site, err := s.serve(fmt.Sprintf("valid-%d.example", i), key)
		if err != nil {
			return err
		}
		s.valid = append(s.valid, site)
	}
	return nil
}

// addSilent makes n names that lead to a site which never answers. Half of them accept a connection and say nothing,
// the others don't accept; half are of one domain, the others of domains with ten names each.
func (s *attackSites) addSilent(n int) error {
	mute, endMute, err := listenMutely()
	if err != nil {
		return err
	}
	s.ends = append(s.ends, endMute)
	full, endFull, err := listenFull()
	if err != nil {
		return err
	}
	s.ends = append(s.ends, endFull)
	for i := range n {
		name := fmt.Sprintf("s%d.silent.example", i)
		if i%4 >= 2 {
			name = fmt.Sprintf("s%d.silent-%d.example", i, i/20)
		}
		address := mute
		if i%2 == 1 {
			address = full
		}
		s.silentNames = append(s.silentNames, name)
		s.lead(name, address)
	}
	return nil
}

// settings writes the service's configuration, and returns the flags that name it.
func (s *attackSites) settings() ([]string, error) {
	var text strings.Builder
	text.WriteString("cert-host:\n")
	for _, h := range s.hosts {
		fmt.Fprintf(&text, "  - %s\n", h)
	}
	path := filepath.Join(s.dir, "service.yaml")
	err := os.WriteFile(path, []byte(text.String()), 0o644)
	return []string{"--config", path, "--cert-dir", s.certs(), "--cert-roots", s.roots()}, err
}

// close ends the sites and removes their files.
func (s *attackSites) close() error {
	for _, end := range s.ends {
		end()
	}
	return os.RemoveAll(s.dir)
}

// listenMutely accepts connections and says nothing.
func listenMutely() (address string, end func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen for those who get no answer: %w", err)
	}
	m := &mute{open: make(map[net.Conn]struct{})}
	m.group.Go(func() { m.accept(l) })
	return l.Addr().String(), func() {
		_ = l.Close()
		m.closeAll()
		m.group.Wait()
	}, nil
}

// mute is the connections of a listener that says nothing.
type mute struct {
	group  sync.WaitGroup
	mu     sync.Mutex
	open   map[net.Conn]struct{} // guarded by mu
	closed bool                  // guarded by mu
}

func (m *mute) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors
			time.Sleep(time.Millisecond)
			continue
		}
		if !m.keep(c) {
			_ = c.Close()
			return
		}
		m.group.Go(func() {
			_, _ = io.Copy(io.Discard, c) // until the other side gives up
			m.drop(c)
		})
	}
}

func (m *mute) keep(c net.Conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.open[c] = struct{}{}
	}
	return !m.closed
}

func (m *mute) drop(c net.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = c.Close()
	delete(m.open, c)
}

func (m *mute) closeAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for c := range m.open {
		_ = c.Close()
	}
}

// listenFull listens with a queue that is full: the system drops what asks for a connection.
func listenFull() (address string, end func(), err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("make a socket that accepts nothing: %w", err)
	}
	ends := []func(){func() { _ = unix.Close(fd) }}
	end = func() {
		for _, e := range ends {
			e()
		}
	}
	if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		err = unix.Listen(fd, 0)
	}
	var name unix.Sockaddr
	if err == nil {
		name, err = unix.Getsockname(fd)
	}
	if err != nil {
		end()
		return "", nil, fmt.Errorf("listen on a socket that accepts nothing: %w", err)
	}
	address = fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
	for range 8 {
		if c, err := net.DialTimeout("tcp", address, patienceToFill); err == nil {
			ends = append(ends, func() { _ = c.Close() })
			continue
		}
		return address, end, nil
	}
	end()
	return "", nil, errors.New("a socket that accepts nothing went on taking connections")
}
