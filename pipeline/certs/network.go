package certs

// A network asks the site itself: every address of its name, because a site may have several nodes with certificates of
// their own. A site may also have an RSA and an ECDSA certificate and choose by what the client offers, so each address
// is asked twice, and once more where it refuses both questions (probe.go says why). An address that hangs up or
// refuses connections is asked again.
//
// One time limit holds for all of that together. A time-out is final: within that time TCP has repeated its packets
// several times. Once there is a chain, the other probes get settleTime more, or as much as twice what the first chain
// took. So a node that hangs costs a second, and a site at the other end of the world still shows all its nodes.

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"countersign/internal/hostname"
	"countersign/internal/pause"
)

// NetworkConfig says how sites are asked. The zero value asks the public Internet with the system's roots.
type NetworkConfig struct {
	// Roots are the authorities that chains must end with. Nil: the system's.
	Roots *x509.CertPool
	// Hosts maps a site to the host:port to dial for it instead of site:443 (--cert-host). It is the operator's word,
	// so the address may be private, and is dialled as often as there are looks. It isn't changed, and must not be
	// while the Sites is used.
	Hosts map[string]string
	// Deny are addresses that are not dialled although they are public (--deny-address). [ParsePrefixes] reads them.
	Deny []netip.Prefix
	// Proxy is the way to the sites that Hosts doesn't name. Nil: they are asked directly.
	Proxy *Proxy
	// Timeout bounds a look at one site, with all addresses and tries. 0: 10 s.
	Timeout time.Duration
	// Tries is how often an address that refuses or drops connections is asked,
	// at least 1. 0: 3.
	Tries int
	// Backoff is the pause after the first try; it doubles from try to try.
	// 0: 250 ms.
	Backoff time.Duration
	// Clock gives the time at which certificates must be valid. Nil: time.Now. [New] sets it to its own.
	Clock func() time.Time
	// Logger gets, at debug level, which addresses gave no certificate. Nil: nothing is logged. [New] sets it to its
	// own.
	Logger *slog.Logger

	// Resolver looks up names. Nil: the system's.
	Resolver Resolver
	// Port is the port that sites are asked on, for tests. Empty: 443.
	Port string
	// Allowed, where set, stands in for the rule which addresses may be dialled, Deny included: for tests.
	Allowed func(netip.Addr) bool
	// DialContext, where set, stands in for the network of the sites that Hosts doesn't name: for tests. It is called
	// with "tcp" and an address that may be dialled, with its port.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// Resolver looks up the addresses of a name. *net.Resolver is one, and its method says what this one promises.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

func (c NetworkConfig) withDefaults() NetworkConfig {
	if c.Timeout <= 0 {
		c.Timeout = lookTimeout
	}
	if c.Tries <= 0 {
		c.Tries = 3
	}
	if c.Backoff <= 0 {
		c.Backoff = 250 * time.Millisecond
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Resolver == nil {
		c.Resolver = net.DefaultResolver
	}
	if c.Port == "" {
		c.Port = "443"
	}
	if c.Allowed == nil {
		c.Allowed = publicBut(c.Deny)
	}
	if c.DialContext == nil {
		dialer := net.Dialer{ControlContext: addressRule(c.Allowed).control, KeepAlive: -1}
		c.DialContext = dialer.DialContext
	}
	return c
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

// network is a source that dials sites on port 443 and takes the certificates that they serve under their name (SNI),
// if the chain leads to the roots and they are for that name and valid now. Only public addresses are dialled, except
// those in Hosts.
type network struct {
	NetworkConfig // with the defaults filled in
	limiter       *dialLimiter
	warned        atomic.Int64 // when the operator was last told about the proxy, in seconds since 1970
	processors    *processors
	dialHost      func(ctx context.Context, network, address string) (net.Conn, error)
}

func newNetwork(config NetworkConfig) *network {
	n := &network{NetworkConfig: config.withDefaults()}
	n.limiter = newDialLimiter(n.Clock)
	n.processors = newProcessors(runtime.GOMAXPROCS(0))
	n.dialHost = (&net.Dialer{KeepAlive: -1}).DialContext
	return n
}

// target is one address of a site, and how it is asked.
type target struct {
	site    string
	address netip.AddrPort // invalid: only the proxy knows it
	name    string         // host:port for a proxy that looks the name up; empty: address is dialled
	limited bool           // dialLimiter says when it is asked
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	// accounts are what its visits are charged to.
	accounts []account
}

// dialled is what dial gets.
func (t target) dialled() string {
	if t.name != "" {
		return t.name
	}
	return t.address.String()
}

// look is a [source].
func (n *network) look(
	ctx context.Context, site string, accounts []account,
) (found []found, partial bool, err error) {
	asking, cancel := context.WithTimeout(ctx, n.Timeout)
	defer cancel()
	w := atTheSite
	if _, named := n.Hosts[site]; named {
		w = atOperatorsHost
	}
	targets, err := n.targets(asking, site, accounts)
	if err == nil {
		found, partial, err = n.askAll(asking, targets)
	}
	if err == nil {
		return found, partial, nil
	}
	if ctx.Err() != nil {
		return nil, false, fmt.Errorf("asking %s for its certificate: %w", site, ctx.Err())
	}
	return found, partial, n.explain(site, w, err)
}

// targets are the addresses to ask, at least one. The error is a *probeError.
func (n *network) targets(ctx context.Context, site string, accounts []account) ([]target, error) {
	// The final dot keeps the resolver from trying the search domains of the
	// machine's own network.
	host, port := site+".", n.Port
	t := target{site: site, limited: true, accounts: accounts, dial: n.DialContext}
	allowed := n.Allowed
	if address, named := n.Hosts[site]; named {
		var err error
		if host, port, err = net.SplitHostPort(address); err != nil {
			return nil, &probeError{stage: stageDial, err: err}
		}
		t.limited, t.dial = false, n.dialHost
		allowed = func(netip.Addr) bool { return true }
	}
	if n.proxied(site) {
		t.dial = n.dialProxy
		if !n.Proxy.LookUpHere {
			return n.named(ctx, t)
		}
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	var addresses []netip.Addr
	if err == nil {
		addresses, err = retry(ctx, n, func() ([]netip.Addr, error) { return n.resolve(ctx, host) })
	}
	if err == nil {
		addresses, err = choose(addresses, allowed)
	}
	if err != nil {
		return nil, &probeError{stage: stageDial, err: err}
	}
	targets := make([]target, len(addresses))
	for i, address := range addresses {
		targets[i] = t
		targets[i].address = netip.AddrPortFrom(address, uint16(number))
	}
	return targets, nil
}

func (n *network) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	addresses, err := n.Resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, &probeError{stage: stageDial, err: err}
	}
	return addresses, nil
}

// choose returns at most maxAddresses of those that may be dialled, IPv4 and IPv6 in turn, in the order in which DNS
// gave them. The error is [errNotPublic], where none may be dialled.
func choose(addresses []netip.Addr, allowed addressRule) ([]netip.Addr, error) {
	var families [2][]netip.Addr
	for _, address := range addresses {
		address = address.Unmap()
		family := 0
		if address.Is6() {
			family = 1
		}
		if allowed(address) && !slices.Contains(families[family], address) {
			families[family] = append(families[family], address)
		}
	}
	var chosen []netip.Addr
	for i := range max(len(families[0]), len(families[1])) {
		for _, family := range families {
			if i < len(family) && len(chosen) < maxAddresses {
				chosen = append(chosen, family[i])
			}
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("%w: none of %d addresses in DNS", errNotPublic, len(addresses))
	}
	return chosen, nil
}

// retry does something until it succeeds, fails for longer than a moment, was tried often enough, or ctx ends.
func retry[T any](ctx context.Context, n *network, do func() (T, error)) (T, error) {
	delay := n.Backoff
	for tries := 1; ; tries++ {
		result, err := do()
		if err == nil || tries == n.Tries || !isTemporary(err) || pause.For(ctx, delay) != nil {
			return result, err
		}
		delay *= 2
	}
}

// answers are what one address gave: a chain or an error for each offer that was made.
type answers struct {
	leaves []leafChain
	errs   []error // *probeError
}

// askAll asks all targets at once and merges what they serve. It fails where none gave a chain, and where one was not
// asked because its turn didn't come: then there may be chains of the others. The error is a *probeError.
func (n *network) askAll(ctx context.Context, targets []target) (merged []found, partial bool, err error) {
	asking, stop := context.WithCancel(ctx)
	defer stop()
	all := make([]answers, len(targets))
	var probes sync.WaitGroup
	p := progress{first: make(chan struct{}, 1)}
	for i, t := range targets {
		probes.Go(func() {
			all[i], _ = retry(asking, n, func() (answers, error) { return n.ask(asking, t, &p) })
		})
	}
	n.settle(&probes, &p, stop)
	leaves, errs := []leafChain(nil), []error(nil)
	for i, a := range all {
		leaves, errs = append(leaves, a.leaves...), append(errs, a.errs...)
		if len(a.leaves) == 0 {
			partial = true
			n.Logger.Debug("an address of a site gave no certificate",
				"site", targets[i].site, "address", targets[i].dialled(), "error", furthest(a.errs...))
		}
	}
	if len(leaves) == 0 {
		return nil, false, furthest(errs...)
	}
	slices.SortStableFunc(leaves, func(a, b leafChain) int { return int(a.kind) - int(b.kind) })
	for _, leaf := range leaves {
		same := func(f found) bool { return f.chain.Fingerprint() == leaf.chain.Fingerprint() }
		if !slices.ContainsFunc(merged, same) {
			merged = append(merged, leaf.found)
		}
	}
	noTurn := func(err error) bool { return errors.Is(err, ErrNoTurn) }
	if i := slices.IndexFunc(errs, noTurn); i >= 0 {
		return merged, partial, errs[i]
	}
	return merged, partial, nil
}

// progress is what the visits of a look tell it.
type progress struct {
	first   chan struct{} // has an element when there is a chain; capacity 1
	waiting atomic.Int32  // visits that wait for their turn
}

// settle waits for the probes. After the first chain it waits for the others only for settleTime, or twice as long as
// the first took, and for turnTime more where one waits for its turn. Then it stops them.
func (n *network) settle(probes *sync.WaitGroup, p *progress, stop func()) {
	began := time.Now()
	ended := make(chan struct{})
	go func() {
		probes.Wait()
		close(ended)
	}()
	defer func() { <-ended }()
	select {
	case <-ended:
		return
	case <-p.first:
	}
	timer := time.NewTimer(max(settleTime, 2*time.Since(began)))
	defer timer.Stop()
	select {
	case <-ended:
		return
	case <-timer.C:
	}
	if p.waiting.Load() > 0 {
		timer.Reset(turnTime)
		select {
		case <-ended:
			return
		case <-timer.C:
		}
	}
	stop()
}

// ask is one try at an address, when its turn has come. The error is nil where there is a chain.
func (n *network) ask(ctx context.Context, t target, p *progress) (answers, error) {
	if !t.limited {
		a, _ := n.visit(ctx, t, p)
		return a, a.err()
	}
	p.waiting.Add(1)
	visiting, leave, err := n.limiter.visit(ctx, t.address.Addr(), t.accounts)
	p.waiting.Add(-1)
	if err != nil {
		err = &probeError{stage: stageDial, err: err}
		return answers{errs: []error{err}}, err
	}
	a, connections := n.visit(visiting, t, p)
	leave(connections)
	return a, a.err()
}

// visit makes the connections of one try: one with an offer for each kind at once, and then, if both are refused, one
// with TLS 1.3 for the kind that the site prefers, and if that is refused, too, one that asks why.
func (n *network) visit(ctx context.Context, t target, p *progress) (a answers, connections int) {
	var leaves [kinds]leafChain
	var errs [kinds]error
	var probes sync.WaitGroup
	for k := range kinds {
		probes.Go(func() { leaves[k], errs[k] = n.probeOne(ctx, t, offer(k), p) })
	}
	probes.Wait()
	connections = int(kinds)
	for k := range kinds {
		a.add(leaves[k], errs[k])
	}
	// A balancer behind the address may lead each connection to another node, and where it deals them out in turn, the
	// same kind would meet the same node at every look. So the kinds that were found are asked for once more, in the
	// other order.
	for k := kinds - 1; k >= 0 && ctx.Err() == nil; k-- {
		if errs[k] != nil {
			continue
		}
		connections++
		if again, err := n.probeOne(ctx, t, offer(k), p); err == nil {
			a.add(again, nil)
		}
	}
	if bothRefused(errs) && ctx.Err() == nil {
		connections++
		a.add(n.probeOne(ctx, t, offerTLS13, p))
		if a.allRefused() && ctx.Err() == nil {
			connections++
			if err := n.inquire(ctx, t); err != nil {
				a.errs = append(a.errs, err)
			}
		}
	}
	return a, connections
}

// err is why there is no chain; nil: there is one.
func (a *answers) err() error {
	if len(a.leaves) > 0 {
		return nil
	}
	return furthest(a.errs...)
}

// allRefused says that a TLS server is there and ended all handshakes.
func (a *answers) allRefused() bool {
	for _, err := range a.errs {
		if _, alerted := alertOf(err); !alerted && !isHangUp(err) {
			return false
		}
	}
	return len(a.leaves) == 0
}

func (a *answers) add(leaf leafChain, err error) {
	if err != nil {
		a.errs = append(a.errs, err)
		return
	}
	a.leaves = append(a.leaves, leaf)
}

// probeOne is probe, and tells of the first chain.
func (n *network) probeOne(ctx context.Context, t target, o offer, p *progress) (leafChain, error) {
	leaf, err := n.probe(ctx, t, o)
	if err == nil {
		select {
		case p.first <- struct{}{}:
		default:
		}
	}
	return leaf, err
}

// explain says in words for the uploader why asking failed.
func (n *network) explain(site string, w where, err error) *Unavailable {
	reason := "the certificate can't be had"
	if failed, ok := errors.AsType[*probeError](err); ok {
		reason = failed.reason(w, n.Timeout) + n.hint(site, err)
	}
	n.tellOfProxy(err)
	return &Unavailable{Site: site, Reason: site + ": " + reason, Err: err}
}
