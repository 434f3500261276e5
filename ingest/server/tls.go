package server

// The API's own certificate, read again when its files change: certificates are renewed every few weeks, and uploads
// are long.

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"countersign/internal/pemfile"
)

// keyPair serves a certificate from two files, which may be the same one.
type keyPair struct {
	certFile, keyFile string
	logger            *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate // guarded by mu
	seen    [2]fileStamp     // guarded by mu; what was last loaded, or tried
	checked time.Time        // guarded by mu
}

// fileStamp tells whether a file changed.
type fileStamp struct {
	modified time.Time
	size     int64
}

// recheck is how often the files are looked at, at most.
const recheck = time.Second

func newKeyPair(certFile, keyFile string, logger *slog.Logger) (*keyPair, error) {
	k := &keyPair{certFile: certFile, keyFile: keyFile, logger: logger}
	k.checked = time.Now()
	if err := k.read(k.stamps()); err != nil {
		return nil, fmt.Errorf("load the HTTPS certificate from --tls-cert and --tls-key: %w", err)
	}
	return k, nil
}

// config offers HTTP/1.1 and no more: fasthttp speaks no HTTP/2.
func (k *keyPair) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.get(), nil },
	}
}

// get returns the certificate to serve, after a look at the files if the last one is a second ago.
func (k *keyPair) get() *tls.Certificate {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.checked) < recheck {
		return k.current
	}
	k.checked = time.Now()
	stamps := k.stamps()
	if stamps == k.seen {
		return k.current
	}
	if err := k.load(stamps); err != nil {
		k.logger.Error("the changed HTTPS certificate doesn't load: the previous one stays in use",
			"cert", k.certFile, "key", k.keyFile, "error", err)
	}
	return k.current
}

// reload reads the files whether they changed or not. On an error the previous certificate stays in use.
func (k *keyPair) reload() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.load(k.stamps())
}

// load reads the files. stamps are those of a moment before. The caller holds mu.
func (k *keyPair) load(stamps [2]fileStamp) error {
	err := k.read(stamps)
	if err == nil {
		k.logger.Info("HTTPS certificate loaded again", "cert", k.certFile)
	}
	return err
}

// read reads the files, and says which certificates in them are of no use. The caller holds mu, or nobody else has k.
func (k *keyPair) read(stamps [2]fileStamp) error {
	k.seen = stamps
	pair, problems, err := pemfile.Pair(k.certFile, k.keyFile)
	if err != nil {
		return err
	}
	for _, problem := range problems {
		k.logger.Warn("a file of certificates has something that can't be read, and is used without it", "setting", "--tls-cert", "error", problem)
	}
	k.current = &pair
	return nil
}

func (k *keyPair) stamps() (stamps [2]fileStamp) {
	for i, name := range []string{k.certFile, k.keyFile} {
		if info, err := os.Stat(name); err == nil {
			stamps[i] = fileStamp{info.ModTime(), info.Size()}
		}
	}
	return stamps
}
