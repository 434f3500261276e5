package server

// Everything that can be set.

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/ingest/admission"
)

// Config is the manual of a server. Zero values mean the default that each field states.
type Config struct {
	// TLSCert and TLSKey name PEM files: with both set, the API is HTTPS (HTTP/1.1; HTTP/2 is not offered). They are
	// read again when they change; a pair that doesn't load leaves the previous one in use.
	TLSCert, TLSKey string

	// PublicURL is the address at which clients see the API, where a reverse proxy shows it elsewhere than at its root:
	// "https://example.org/countersign". Requests are taken with its path and without. Default: the root of any host.
	PublicURL string

	// Admission decides who gets connections, and what a compressed body may unfold to. Default: one with
	// MaxConnections, and otherwise its own defaults.
	Admission *admission.Admission
	// MaxBody is the most bytes in a request body, as sent and as decoded. Default 512 MiB.
	MaxBody int64
	// MaxConnections is the most connections open at a time. Beyond, idle ones of clients that hold more are closed, or
	// the new one is, after a 503. Each takes MaxHead and some 8 KiB. Default 8192.
	MaxConnections int
	// MaxHead is the most bytes in a request's head. Default 16 KiB.
	MaxHead int

	// StallTimeout is how long a client may send nothing while it owes a head or a body. Default 30 s.
	StallTimeout time.Duration
	// BodyTimeout is how long a body may take from its first byte to its last. Default 10 min.
	BodyTimeout time.Duration
	// IdleTimeout is how long a connection may rest between requests. Default 75 s.
	IdleTimeout time.Duration
	// WriteTimeout is how long the client may take to receive a reply. Default 60 s.
	WriteTimeout time.Duration
	// LingerTimeout is how long a refused connection is still received from after the refusal was sent, and LingerBytes
	// how much: closing at once would make the kernel reset the connection, and the client lose the answer (RFC 9112,
	// section 9.6). Where a body was announced, all of it is received (of a body in chunks: MaxBody), in LingerTimeout
	// and a second more for each 16 KiB of it, at most BodyTimeout. Defaults 10 s, 64 MiB.
	LingerTimeout time.Duration
	LingerBytes   int64
	// DrainTimeout is how long Shutdown lets open requests go on. Default 10 s.
	DrainTimeout time.Duration

	// Logger gets what an operator should know. Default: nothing is logged.
	Logger *slog.Logger
	// Registerer is where the metrics are registered. Default: nowhere.
	Registerer prometheus.Registerer
}

// withDefaults returns c filled in, or every problem it has.
func (c Config) withDefaults() (Config, error) {
	c.MaxBody = cmp.Or(c.MaxBody, 512<<20)
	c.MaxConnections = cmp.Or(c.MaxConnections, 8192)
	c.MaxHead = cmp.Or(c.MaxHead, 16<<10)
	c.StallTimeout = cmp.Or(c.StallTimeout, 30*time.Second)
	c.BodyTimeout = cmp.Or(c.BodyTimeout, 10*time.Minute)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 75*time.Second)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, time.Minute)
	c.LingerTimeout = cmp.Or(c.LingerTimeout, 10*time.Second)
	c.LingerBytes = cmp.Or(c.LingerBytes, 64<<20)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 10*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c, c.check()
}

func (c *Config) check() error {
	var errs []error
	if (c.TLSCert == "") != (c.TLSKey == "") {
		errs = append(errs, errors.New("--tls-cert and --tls-key belong together: give both or neither"))
	}
	if err := CheckPublicURL(c.PublicURL); err != nil {
		errs = append(errs, err)
	}
	if c.MaxBody < 0 {
		errs = append(errs, fmt.Errorf("--max-body %d is negative: leave it out for the default", c.MaxBody))
	}
	if c.StallTimeout < 0 || c.BodyTimeout < 0 {
		errs = append(errs, errors.New("a time-out of bodies is negative: leave it out for the default"))
	}
	return errors.Join(errs...)
}

// CheckPublicURL returns what is wrong with a Config.PublicURL; nil: nothing.
func CheckPublicURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.ContainsAny(text, "?#") {
		return fmt.Errorf("--public-url %q: want the address of the web page as people type it, such as https://example.org or "+
			"https://example.org/countersign", text)
	}
	return nil
}

// below is the path of PublicURL, without a slash at its end.
func (c *Config) below() string {
	u, err := url.Parse(c.PublicURL)
	if err != nil { // check has refused it
		return ""
	}
	return strings.TrimRight(u.EscapedPath(), "/")
}
