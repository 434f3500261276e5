// Package tunnel makes connections through a proxy: by CONNECT of HTTP (RFC 9110, section 9.3.6), also over TLS, or by
// SOCKS 5 (RFC 1928).
//
// It owns what is said to the proxy. It promises that a call ends with its context, that what the proxy answers is
// bounded, and that errors tell apart what the proxy's operator, this program's operator and the far end have to mend.
// They may hold the proxy's address, and never its password.
//
// golang.org/x/net/proxy has SOCKS 5 and no CONNECT. The library's http.Transport has CONNECT, and no way to the
// connection that it makes.
//
// Files: tunnel.go (proxies and their errors), connect.go (CONNECT), socks.go (SOCKS 5).
//
// It must not know any other package of this module.
package tunnel
