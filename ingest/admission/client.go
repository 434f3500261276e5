package admission

// Who a request comes from. An address is the only thing about a sender that costs something to have many of, so it is
// what shares are counted by.

import (
	"crypto/sha256"
	"net/netip"
)

// ipv6Client is how many bits of an IPv6 address name one client: a /64 is what one connection gets (RFC 6177).
const ipv6Client = 64

// Client is an IPv4 address or an IPv6 /64. The zero Client stands for all whose address is not known. Clients are
// comparable.
type Client struct{ prefix netip.Prefix }

// ClientOf returns the client that has an address.
func ClientOf(addr netip.Addr) Client {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if bits == 128 {
		bits = ipv6Client
	}
	prefix, _ := addr.Prefix(bits) // it fails for the zero Addr alone, with the zero Prefix
	return Client{prefix}
}

// IsValid reports whether the client's address is known.
func (c Client) IsValid() bool { return c.prefix.IsValid() }

// String is the address, or the /64 as a prefix.
func (c Client) String() string {
	switch {
	case !c.prefix.IsValid():
		return "unknown"
	case c.prefix.IsSingleIP():
		return c.prefix.Addr().String()
	}
	return c.prefix.String()
}

// Token stands for the client on the log: whoever reads it can count by client, and doesn't see the address at once. It
// is no secret: there are few enough IPv4 addresses to try all. Clients that are not known have no token.
func (c Client) Token() (token [8]byte, ok bool) {
	if !c.prefix.IsValid() {
		return token, false
	}
	address := c.prefix.Addr().As16()
	sum := sha256.Sum256(address[:])
	return [8]byte(sum[:8]), true
}
