package admission

// Clients behind proxies. A proxy appends the address it got a request from to a field of the head, so the field is
// read from its end: the last address was written by the proxy that is connected here, the one before by the proxy
// before that, and so on while each is trusted. What is further left was sent by the client, who may write anything
// there.

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Proxies are the addresses of proxies whose word is taken.
type Proxies []netip.Prefix

// ParseProxies reads addresses and CIDR prefixes separated by commas, as in "10.0.0.0/8, 192.0.2.7". All that is wrong
// is said at once.
func ParseProxies(list string) (Proxies, error) {
	var proxies Proxies
	var errs []error
	for text := range strings.SplitSeq(list, ",") {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			var addr netip.Addr
			if addr, err = netip.ParseAddr(text); err == nil && addr.Zone() == "" {
				prefix = netip.PrefixFrom(addr, addr.BitLen())
			} else {
				errs = append(errs, fmt.Errorf("%q is neither an address nor a prefix such as 10.0.0.0/8", text))
				continue
			}
		}
		if prefix.Addr().Is4In6() { // addresses are compared unmapped
			if prefix.Bits() < 96 {
				errs = append(errs, fmt.Errorf("%q mixes IPv4 and IPv6: write the IPv4 prefix", text))
				continue
			}
			prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
		}
		proxies = append(proxies, prefix.Masked())
	}
	return proxies, errors.Join(errs...)
}

// Trust reports whether a peer is one of the proxies.
func (p Proxies) Trust(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, prefix := range p {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// Forwarding is what the head of a request says about its way: the values of each field, in their order.
type Forwarding struct {
	XForwardedFor []string
	Forwarded     []string // RFC 7239
}

// ClientOf returns the client of a request that came over a connection from remote. Without trust in remote the head
// doesn't count. Where both fields are there and name different clients, one of them was let through unread by a proxy
// that only knows the other; then the client is whoever is connected, because the head could be a lie.
func (p Proxies) ClientOf(remote netip.Addr, head Forwarding) Client {
	if len(p) == 0 || !p.Trust(remote) {
		return ClientOf(remote)
	}
	byX, okX := p.walk(remote, head.XForwardedFor, addressOf)
	byForwarded, ok := p.walk(remote, head.Forwarded, forOf)
	switch {
	case okX && ok && ClientOf(byX) != ClientOf(byForwarded):
		return ClientOf(remote)
	case ok:
		return ClientOf(byForwarded)
	}
	return ClientOf(byX)
}

// walk goes through the elements of a field from the last to the first, as far as each address is trusted, and returns
// where it ended. An element that can't be read ends it at the one before. ok: the field is there.
func (p Proxies) walk(remote netip.Addr, lines []string, parse func(string) (netip.Addr, bool)) (last netip.Addr, ok bool) {
	last = remote
	for i := len(lines) - 1; i >= 0; i-- {
		rest, more := lines[i], true
		for more {
			var element string
			rest, element, more = cutLast(rest, ',')
			if element == "" { // RFC 9110, section 5.6.1: empty elements don't count
				continue
			}
			addr, good := parse(element)
			if !good {
				return last, true
			}
			if last = addr; !p.Trust(addr) {
				return last, true
			}
		}
	}
	return last, len(lines) > 0
}

// cutLast cuts s at its last separator outside of a quoted string, and trims what comes after it. It reads from the
// end, so that a quote left open further left, by the client, can't hide what a proxy appended.
func cutLast(s string, separator byte) (before, after string, found bool) {
	quoted := false
	for i := len(s) - 1; i >= 0; i-- {
		switch {
		case s[i] == '"' && !escaped(s, i):
			quoted = !quoted
		case s[i] == separator && !quoted:
			return s[:i], strings.Trim(s[i+1:], " \t"), true
		}
	}
	return "", strings.Trim(s, " \t"), false
}

// escaped reports whether an odd number of backslashes comes before s[i].
func escaped(s string, i int) bool {
	n := 0
	for i > n && s[i-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}

// forOf returns the address of parameter "for" of an element of Forwarded. It fails where there is not exactly one, and
// where that is no address (RFC 7239, section 6: "unknown" and obfuscated names are allowed).
func forOf(element string) (addr netip.Addr, ok bool) {
	for more := true; more; {
		var pair string
		element, pair, more = cutLast(element, ';')
		name, value, _ := strings.Cut(pair, "=")
		if !strings.EqualFold(name, "for") {
			continue
		}
		if ok {
			return netip.Addr{}, false
		}
		if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
			value = value[1 : n-1]
		}
		if addr, ok = addressOf(value); !ok {
			return netip.Addr{}, false
		}
	}
	return addr, ok
}

// addressOf reads an address with or without a port, an IPv6 one also in brackets.
func addressOf(text string) (netip.Addr, bool) {
	if !strings.HasPrefix(text, "[") {
		if addr, err := netip.ParseAddr(text); err == nil {
			return addr.Unmap(), addr.Zone() == ""
		}
	}
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		addr, err := netip.ParseAddr(text[1 : len(text)-1])
		return addr.Unmap(), err == nil && addr.Is6() && addr.Zone() == ""
	}
	with, err := netip.ParseAddrPort(text)
	return with.Addr().Unmap(), err == nil && with.Addr().Zone() == ""
}
