package certs

// Which addresses may be dialled. An uploader chooses the name that is looked up, so a name must not lead into the
// network that the service runs in. The address is checked inside the dial, when it is about to be connected to. So a
// name that resolves to another address the second time gains nothing: the address that was checked is the address that
// is used.
//
// The lists are the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, RFC 8190). These call some blocks
// globally reachable in which no web site can be (AS112, AMT, anycast of protocols). Those are refused too.

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
)

// errNotPublic is wrapped by the refusal to connect to an address.
var errNotPublic = errors.New("not a public address")

// addressRule says whether an address may be dialled.
type addressRule func(netip.Addr) bool

// publicBut is the rule that allows public addresses outside denied. A prefix of IPv4 addresses denies them also where
// they are wrapped in NAT64 addresses.
func publicBut(denied []netip.Prefix) addressRule {
	return func(address netip.Addr) bool {
		return isPublic(address) && !containedIn(address.Unmap(), denied) && !containedIn(unwrapNAT64(address), denied)
	}
}

// control is a [net.Dialer]'s ControlContext: it runs between making a
// socket and connecting it, for each address that is tried.
func (allowed addressRule) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s %q", errNotPublic, network, address)
	}
	if !allowed(target.Addr()) {
		return fmt.Errorf("%w: %s", errNotPublic, target.Addr())
	}
	return nil
}

// ParsePrefixes reads the entries of --deny-address: networks such as 203.0.113.0/24, or single addresses. The error
// names all that are neither.
func ParsePrefixes(entries []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	var problems []error
	for _, entry := range entries {
		prefix, err := netip.ParsePrefix(entry)
		if address, addressErr := netip.ParseAddr(entry); addressErr == nil && address.Zone() == "" {
			prefix, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil || prefix.Addr().Is4In6() {
			problems = append(problems,
				fmt.Errorf("%q is no network such as 203.0.113.0/24 or 2001:db8::/32, and no address", entry))
			continue
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes, errors.Join(problems...)
}

// isPublic reports whether address is one at which a site on the public
// Internet can be.
func isPublic(address netip.Addr) bool {
	address = address.Unmap() // ::ffff:0:0/96 reaches the IPv4 address it holds (RFC 4291, section 2.5.5.2)
	switch {
	case address.Zone() != "":
		return false
	case address.Is4():
		return !containedIn(address, special4)
	case nat64.Contains(address):
		return !containedIn(unwrapNAT64(address), special4)
	default:
		return globalUnicast6.Contains(address) && !containedIn(address, special6)
	}
}

// unwrapNAT64 is the IPv4 address that a NAT64 address holds, and other addresses as they are.
func unwrapNAT64(address netip.Addr) netip.Addr {
	if !nat64.Contains(address) {
		return address
	}
	wrapped := address.As16()
	return netip.AddrFrom4([4]byte(wrapped[12:]))
}

func containedIn(address netip.Addr, prefixes []netip.Prefix) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(address) })
}

// Constants, as far as the language has them for prefixes.
var (
	special4 = []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),        // this network (RFC 791)
		netip.MustParsePrefix("10.0.0.0/8"),       // private (RFC 1918)
		netip.MustParsePrefix("100.64.0.0/10"),    // carrier-grade NAT (RFC 6598)
		netip.MustParsePrefix("127.0.0.0/8"),      // loopback (RFC 1122)
		netip.MustParsePrefix("168.63.129.16/32"), // Azure's platform, inside each virtual network
		netip.MustParsePrefix("169.254.0.0/16"),   // link-local (RFC 3927), where clouds keep their metadata
		netip.MustParsePrefix("172.16.0.0/12"),    // private (RFC 1918)
		netip.MustParsePrefix("192.0.0.0/24"),     // protocol assignments (RFC 6890)
		netip.MustParsePrefix("192.0.2.0/24"),     // documentation (RFC 5737)
		netip.MustParsePrefix("192.31.196.0/24"),  // AS112 (RFC 7535)
		netip.MustParsePrefix("192.52.193.0/24"),  // AMT relays (RFC 7450)
		netip.MustParsePrefix("192.88.99.0/24"),   // 6to4 relays (RFC 7526)
		netip.MustParsePrefix("192.168.0.0/16"),   // private (RFC 1918)
		netip.MustParsePrefix("192.175.48.0/24"),  // AS112 (RFC 7534)
		netip.MustParsePrefix("198.18.0.0/15"),    // benchmarking (RFC 2544)
		netip.MustParsePrefix("198.51.100.0/24"),  // documentation (RFC 5737)
		netip.MustParsePrefix("203.0.113.0/24"),   // documentation (RFC 5737)
		netip.MustParsePrefix("224.0.0.0/4"),      // multicast (RFC 5771)
		netip.MustParsePrefix("240.0.0.0/4"),      // reserved (RFC 1112), limited broadcast (RFC 919)
	}

	// globalUnicast6 is all of IPv6 that is given out (RFC 4291, section 2.4).
	// Outside are loopback, unspecified, unique local (RFC 4193), link-local,
	// multicast, local-use NAT64 (RFC 8215), discard-only (RFC 6666) and SRv6
	// (RFC 9602).
	globalUnicast6 = netip.MustParsePrefix("2000::/3")
	special6       = []netip.Prefix{
		// Protocol assignments: Teredo (RFC 4380), ORCHID (RFC 7343), benchmarking (RFC 5180).
		netip.MustParsePrefix("2001::/23"),
		netip.MustParsePrefix("2001:db8::/32"),     // documentation (RFC 3849)
		netip.MustParsePrefix("2002::/16"),         // 6to4, wraps any IPv4 address (RFC 3056, RFC 7526)
		netip.MustParsePrefix("2620:4f:8000::/48"), // AS112 (RFC 7534)
		netip.MustParsePrefix("3fff::/20"),         // documentation (RFC 9637)
	}
	// nat64 wraps an IPv4 address in its last four bytes (RFC 6052), and is how
	// a network that has only IPv6 reaches the IPv4 Internet.
	nat64 = netip.MustParsePrefix("64:ff9b::/96")
)
