package server

// Whom the operator's listener answers. A web page can make its visitor's browser ask any address, and by changing what
// its own name leads to (DNS rebinding) it can even read the answer. The browser then names the page's host in the head
// Host. So a name must be one that the operator gave; an address can't be rebound.

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// checkHost lets a request through to next if its Host is allowed, and otherwise answers 421 (RFC 9110, section
// 15.5.20).
func checkHost(hosts []string, next http.Handler) http.Handler {
	names := make(map[string]bool, len(hosts))
	for _, h := range hosts {
		names[plainHost(h)] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hostAllowed(r, names) {
			adminReply(w, http.StatusMisdirectedRequest, fmt.Sprintf(
				"the admin listener does not answer requests for the host %.255q: ask by its address, or start the service with --admin-host and that name",
				r.Host))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostAllowed reports whether a request is for this listener: its Host is one of names, localhost, a loopback address
// or the address that the connection was made to. A request without a Host, which HTTP/1.0 has and no browser sends,
// is. The port doesn't count.
func hostAllowed(r *http.Request, names map[string]bool) bool {
	host := plainHost(r.Host)
	if host == "" || host == "localhost" || names[host] {
		return true
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	if address.IsLoopback() {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.AddrPort().Addr().Unmap().WithZone("") == address
}

// plainHost is a Host or an address to listen on without port, brackets, zone and final dot, in small letters.
func plainHost(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	if address, err := netip.ParseAddr(host); err == nil {
		return address.Unmap().WithZone("").String()
	}
	return strings.ToLower(host)
}
