package certs

// Network asks the site itself. A site may have an RSA and an ECDSA certificate and choose by what the client offers,
// so it is asked twice, and once more where it refuses both questions (probe.go says why). A site that hangs up or
// refuses connections is asked again. One time limit holds for all of that together. A time-out is final: within that
// time TCP has repeated its packets several times.

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"countersign/internal/hostname"
	"countersign/internal/pause"
)

// NetworkConfig says how [Network] asks sites. The zero value asks the public
// Internet with the system's roots.
type NetworkConfig struct {
	// Roots are the authorities that chains must end with. Nil: the system's.
	// [LoadRoots] reads --cert-roots.
	Roots *x509.CertPool
	// Hosts maps a site to the host:port to dial for it instead of site:443
	// (--cert-host). It is the operator's word, so the address may be private.
	// It isn't changed, and must not be while the source is used.
	Hosts map[string]string
	// Timeout bounds the asking of one site, with all tries. 0: 10 s.
	// Waiting for one of MaxConcurrent is bounded by the same time again.
	Timeout time.Duration
	// Tries is how often a site that refuses or drops connections is asked,
	// at least 1. 0: 3.
	Tries int
	// Backoff is the pause after the first try; it doubles from try to try.
	// 0: 250 ms.
	Backoff time.Duration
	// MaxConcurrent is how many sites are asked at once, each over at most two
	// connections. More wait for their turn. 0: 256.
	MaxConcurrent int
	// Clock gives the time at which certificates must be valid. Nil: time.Now.
	Clock func() time.Time
	// Resolver looks up names. Nil: the system's.
	Resolver *net.Resolver
	// DialContext, where set, stands in for the network of the sites that Hosts
	// doesn't name, and for the rule which addresses may be dialled: for tests.
	// It is called with "tcp" and the site's absolute name, "example.com.:443".
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// Network is the source that dials the site on port 443 and takes the
// certificates it serves under its name (SNI), if their chain leads to the
// roots and they are for that name and valid now. It succeeds with either an
// RSA or an ECDSA leaf, because most sites have only one. A site with both may
// fail to show one of them at times; [Cache.Refetch] then finds it later. Only
// public addresses are dialled, except those in Hosts.
func Network(config NetworkConfig) Source {
	n := &network{NetworkConfig: config.withDefaults()}
	n.turns = make(chan struct{}, n.MaxConcurrent)
	anywhere := net.Dialer{Resolver: n.Resolver, KeepAlive: -1}
	n.dialHost = anywhere.DialContext
	return n.fetch
}

func (c NetworkConfig) withDefaults() NetworkConfig {
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Tries <= 0 {
		c.Tries = 3
	}
	if c.Backoff <= 0 {
		c.Backoff = 250 * time.Millisecond
	}
	if c.MaxConcurrent <= 0 {
		c.MaxConcurrent = 256
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.DialContext == nil {
		public := net.Dialer{Resolver: c.Resolver, ControlContext: controlPublic, KeepAlive: -1}
		c.DialContext = public.DialContext
	}
	return c
}

// LoadRoots reads the certificates in file, in PEM, into a new pool that holds no others.
func LoadRoots(file string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("loading root certificates: %w", err)
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("loading root certificates: %s holds no certificate in PEM; "+
			"it must have at least one BEGIN CERTIFICATE block", file)
	}
	return pool, nil
}

// ParseHost splits an entry of --cert-host, site=host:port.
func ParseHost(entry string) (site, address string, err error) {
	site, address, found := strings.Cut(entry, "=")
	host, port, splitErr := net.SplitHostPort(address)
	if !found || hostname.Check(site) != nil || splitErr != nil || host == "" || port == "" {
		return "", "", fmt.Errorf("%q is not site=host:port, such as example.com=127.0.0.1:8443", entry)
	}
	return site, address, nil
}

// network is the state of a Network source.
type network struct {
	NetworkConfig // with the defaults filled in
	dialHost      func(ctx context.Context, network, address string) (net.Conn, error)
	turns         chan struct{} // one element for each site that is being asked
}

// target is what is asked, and how.
type target struct {
	site    string
	address string // host:port
	where   string // for Unavailable.Reason
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
}

func (n *network) fetch(ctx context.Context, site string) ([]Chain, error) {
	if hostname.Check(site) != nil {
		return nil, notAHostName(site)
	}
	if err := n.waitForTurn(ctx, site); err != nil {
		return nil, err
	}
	defer func() { <-n.turns }()
	asking, cancel := context.WithTimeout(ctx, n.Timeout)
	defer cancel()
	// The final dot keeps the resolver from trying the search domains of the
	// machine's own network.
	t := target{site: site, address: net.JoinHostPort(site+".", "443"), where: "port 443", dial: n.DialContext}
	if address, ok := n.Hosts[site]; ok {
		t.address, t.where, t.dial = address, "the address that the operator gave for it", n.dialHost
	}
	chains, err := n.try(asking, t)
	if err == nil {
		return chains, nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("asking %s for its certificate: %w", site, ctx.Err())
	}
	return nil, n.explain(t, err)
}

// waitForTurn returns when this is one of the MaxConcurrent sites that are asked. The caller must then receive from
// n.turns when it has asked.
func (n *network) waitForTurn(ctx context.Context, site string) error {
	timer := time.NewTimer(n.Timeout)
	defer timer.Stop()
	select {
	case n.turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting to ask %s for its certificate: %w", site, ctx.Err())
	case <-timer.C:
		return fmt.Errorf("asking %s for its certificate: %w: all of %d were taken for %s",
			site, ErrBusy, n.MaxConcurrent, n.Timeout)
	}
}

// try asks until there is an answer or ctx ends. The error is a *probeError.
func (n *network) try(ctx context.Context, t target) ([]Chain, error) {
	delay := n.Backoff
	for tries := 1; ; tries++ {
		chains, err := n.ask(ctx, t)
		if err == nil || tries == n.Tries || !isTemporary(err) || pause.For(ctx, delay) != nil {
			return chains, err
		}
		delay *= 2
	}
}

// ask is one try: with an offer for each kind at once, and then, if both are refused, with TLS 1.3 for the kind that
// the site prefers.
func (n *network) ask(ctx context.Context, t target) ([]Chain, error) {
	var leaves [kinds]leafChain
	var errs [kinds]error
	var probes sync.WaitGroup
	for k := range kinds {
		probes.Go(func() { leaves[k], errs[k] = n.probe(ctx, t, offer(k)) })
	}
	probes.Wait()
	if bothRefused(errs) && ctx.Err() == nil {
		leaf, err := n.probe(ctx, t, offerTLS13)
		if err != nil {
			return nil, furthest(append(errs[:], err)...)
		}
		return []Chain{leaf.chain}, nil
	}
	// A site may answer an offer for one kind with a certificate of the other kind: the kind of the certificate counts.
	var found [kinds]Chain
	for k := range kinds {
		if errs[k] == nil {
			found[leaves[k].kind] = leaves[k].chain
		}
	}
	if chains := present(found); len(chains) > 0 {
		return chains, nil
	}
	return nil, furthest(errs[:]...)
}

// present gives the chains that there are, in the order of their kinds.
func present(found [kinds]Chain) []Chain {
	var chains []Chain
	for _, chain := range found {
		if len(chain.Certificates) > 0 {
			chains = append(chains, chain)
		}
	}
	return chains
}

// explain says in words for the uploader why asking failed.
func (n *network) explain(t target, err error) *Unavailable {
	reason := "the certificate can't be had"
	if failed, ok := errors.AsType[*probeError](err); ok {
		reason = failed.reason(t.where, n.Timeout)
	}
	return &Unavailable{Site: t.site, Reason: t.site + ": " + reason, Err: err}
}
