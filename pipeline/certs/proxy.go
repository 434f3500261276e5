package certs

// Looks through a proxy, for networks from which nothing else leads out.
//
// Who looks up the names of sites decides who keeps looks away from private addresses (I7). The usual way is that of
// every program: the proxy gets the name (LookUpHere is false). Then the proxy must refuse to connect to its own network.
// The check of addresses holds as far as DNS answers here, too, within hintTime. With LookUpHere the proxy gets an
// address that was looked up and checked here, as without a proxy; not every proxy takes addresses.
//
// The turns of addresses hold either way. Where only the proxy knows the address of a name, its registrable domain
// stands for it.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"countersign/internal/tunnel"
)

// hintTime is how long a name may take to be looked up here where the proxy looks it up.
const hintTime = time.Second

// Proxy says which sites are reached through a proxy, and how. It isn't changed while it is used.
type Proxy struct {
	tunnel.Proxy

	// LookUpHere has the names of sites looked up by this process, and the proxy connect to their addresses. Otherwise
	// the proxy looks the names up.
	LookUpHere bool
	// Except says which sites are asked directly. Nil: none.
	Except func(site string) bool
}

// proxied says whether a site is asked through the proxy.
func (n *network) proxied(site string) bool {
	_, named := n.Hosts[site]
	return n.Proxy != nil && !named && (n.Proxy.Except == nil || !n.Proxy.Except(site))
}

// dialProxy is the dial of a target.
func (n *network) dialProxy(ctx context.Context, _, address string) (net.Conn, error) {
	return n.Proxy.Dial(ctx, address)
}

// named is the target of a site whose name the proxy looks up.
func (n *network) named(ctx context.Context, t target) ([]target, error) {
	t.name = net.JoinHostPort(t.site, n.Port)
	hint, cancel := context.WithTimeout(ctx, hintTime)
	defer cancel()
	if addresses, err := n.Resolver.LookupNetIP(hint, "ip", t.site+"."); err == nil {
		chosen, err := choose(addresses, n.Allowed)
		if err != nil {
			return nil, &probeError{stage: stageDial, err: err}
		}
		t.address = netip.AddrPortFrom(chosen[0], 0)
	}
	return []target{t}, nil
}

// proxyReason names no address: it would tell strangers about the operator's network.
func proxyReason(err *tunnel.Error, timeout time.Duration) string {
	const proxy, setting = "the proxy through which this service asks sites ", "--cert-proxy or HTTPS_PROXY"
	status := ""
	if err.Status != 0 {
		status = fmt.Sprintf(" (%d)", err.Status)
	}
	switch err.Kind {
	case tunnel.Away:
		return proxy + "can't be reached; the operator of this service must see to the proxy, or correct " + setting
	case tunnel.Untrusted:
		return proxy + "shows no certificate that is trusted here; the operator of this service must mend that, or correct " + setting
	case tunnel.NoProxy:
		return "what answers in place of " + proxy + "is no such proxy; the operator of this service must correct " + setting
	case tunnel.Password:
		return proxy + "demands a user and a password that it knows" + status +
			"; the operator of this service must put them into the URL of " + setting
	case tunnel.Forbidden:
		return proxy + "refuses to connect to port 443 of the site" + status + "; the operator of this service must have that allowed"
	case tunnel.Silent:
		return fmt.Sprintf("%shas not connected to port 443 of the site within %s; check that the site is up and open to the "+
			"Internet, or have the operator of this service look at the proxy", proxy, seconds(timeout))
	default:
		return proxy + "can't connect to port 443 of the site" + status + "; check that the site is up and open to the Internet"
	}
}

// hint says, beside a reason, that a site was not asked through a proxy; empty: that has nothing to do with it.
func (n *network) hint(site string, err error) string {
	failed, ok := errors.AsType[*probeError](err)
	_, named := n.Hosts[site]
	switch {
	case !ok || !mayNeedProxy(failed) || n.proxied(site), named && n.Proxy == nil:
		return ""
	case n.Proxy != nil:
		return ". This service asks this site directly, because its operator has excepted it from the proxy"
	}
	return ". This service asks sites directly; if only a proxy leads out of its network, its operator must set --cert-proxy"
}

// tellOfProxy tells the operator, at most once a minute, that no site can be asked through the proxy.
func (n *network) tellOfProxy(err error) {
	failed, ok := errors.AsType[*tunnel.Error](err)
	if !ok || !failed.ForAll() {
		return
	}
	now, last := n.Clock().Unix(), n.warned.Load()
	if (last == 0 || now-last >= 60) && n.warned.CompareAndSwap(last, now) {
		n.Logger.Warn("sites can't be asked through the proxy", "proxy", n.Proxy.Address(), "error", failed)
	}
}
