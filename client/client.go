package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"countersign/internal/pause"
	"countersign/internal/pemfile"
)

// Client calls one service. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	http  *http.Client
	retry Retry
	now   func() time.Time
	sleep func(context.Context, time.Duration) error // pause.For
	// jitter returns a number in [0, 1): clients that were refused together should not come back
	// together.
	jitter func() float64
}

// Retry says how often and when a call is repeated.
type Retry struct {
	Attempts int           // most requests for one call; 1: never repeat; 0 means 6, or any number where For is set
	For      time.Duration // how long after its beginning a call is repeated at most; 0: Attempts alone bounds it
	First    time.Duration // pause before the second attempt, doubled for each further one; 0 means 250 ms
	Longest  time.Duration // longest pause, and longest Retry-After that is waited for; 0 means 2 min
}

// An Option changes how New makes a Client.
type Option func(*settings) error

type settings struct {
	http  *http.Client
	tls   *tls.Config
	retry Retry
}

// WithHTTPClient makes the Client use h, whose proxy, timeouts and TLS are then h's own: it
// excludes WithTLS and WithRootsFile. A total timeout (h.Timeout) would also limit uploads:
// contexts do better.
func WithHTTPClient(h *http.Client) Option {
	return func(s *settings) error {
		if h == nil {
			return errors.New("WithHTTPClient: the client is nil")
		}
		s.http = h
		return nil
	}
}

// WithTLS makes connections use a copy of cfg.
func WithTLS(cfg *tls.Config) Option {
	return func(s *settings) error {
		s.tls = cfg.Clone()
		return nil
	}
}

// WithRootsFile makes the Client trust the certificate authorities in a file, PEM or DER, and no others, as issuers of
// the service's own certificate. A certificate in the file that can't be read is an error, which says what to do about
// it. Given after WithTLS, it adds to it.
func WithRootsFile(path string) Option {
	return func(s *settings) error {
		roots, problems, err := pemfile.Roots(path)
		if err == nil && len(problems) > 0 {
			err = problems[0]
		}
		if err != nil {
			return fmt.Errorf("read the trusted certificates: %w", err)
		}
		if s.tls == nil {
			s.tls = &tls.Config{}
		}
		s.tls.RootCAs = roots
		return nil
	}
}

// WithRetry sets when calls are repeated.
func WithRetry(r Retry) Option {
	return func(s *settings) error {
		s.retry = r
		return nil
	}
}

// New makes a Client of the service at baseURL, which is http or https, a host, and the path in
// front of /api, if any.
func New(baseURL string, opts ...Option) (*Client, error) {
	base, err := url.Parse(baseURL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the service's address: %w", err)
	case base.Scheme != "http" && base.Scheme != "https" || base.Host == "":
		return nil, fmt.Errorf("the service's address %q: want http://host:port or https://host", baseURL)
	case base.RawQuery != "" || base.Fragment != "":
		return nil, fmt.Errorf("the service's address %q: want nothing after the path", baseURL)
	}
	var s settings
	for _, opt := range opts {
		if err := opt(&s); err != nil {
			return nil, err
		}
	}
	if s.http != nil && s.tls != nil {
		return nil, errors.New("WithHTTPClient excludes WithTLS and WithRootsFile: set the TLS configuration of its transport")
	}
	if s.http == nil {
		s.http = &http.Client{Transport: newTransport(s.tls)}
	}
	return &Client{
		base: base, http: s.http, retry: s.retry.withDefaults(),
		now: time.Now, sleep: pause.For, jitter: rand.Float64,
	}, nil
}

// newTransport is the standard one with room for as many idle connections to the one host as to
// all.
func newTransport(cfg *tls.Config) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = t.MaxIdleConns
	t.TLSClientConfig = cfg
	return t
}

// Close closes idle connections. Calls still going on are not disturbed.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// withDefaults fills the gaps.
func (r Retry) withDefaults() Retry {
	if r.Attempts <= 0 && r.For > 0 {
		r.Attempts = math.MaxInt
	} else if r.Attempts <= 0 {
		r.Attempts = 6
	}
	if r.First <= 0 {
		r.First = 250 * time.Millisecond
	}
	if r.Longest <= 0 {
		r.Longest = 2 * time.Minute
	}
	return r
}
