// Package certs is where public keys come from: it looks at sites, checks the certificates that they serve, and
// remembers them with the keys in them.
//
// It owns the ways to get a certificate and the memory of what was seen. A site may be verified by every leaf that it
// was seen serving within a grace period and that is valid now ([Sites.Known]). [Sites.Look] looks at the site again,
// after a given moment, for signatures that fail under all of them. The rules are those of docs/design.md,
// "Certificates".
//
// It promises that every chain it gives has a leaf that the service can verify with, that it connects to public
// addresses only, unless the operator named the address or a proxy that looks names up (I7), that every wait and all
// memory have a bound (I6), and that sites which don't answer, however many they are, delay looks at other domains for
// other clients by nothing while there are places, and that made-up names which lead to the address of a site delay no
// look at it once it is known (I9).
//
// It does not check whether a certificate was revoked. crypto/tls consults neither OCSP (RFC 6960) nor revocation lists
// (RFC 5280, section 5), and neither does this package: a revoked certificate is accepted for as long as the site
// serves it, and for the grace period after that, if it has not expired and the roots are trusted. The damage is
// limited because the certificate must have been served by the server that the name leads to.
//
// The files, from the question to the key: sites.go is what callers see, look.go shares looks and waits for their
// turns, dir.go reads files, network.go asks the addresses of a site, address.go says which may be dialled, limit.go
// how often and whose turn it is, probe.go makes one TLS handshake, wire.go reads what a server says in the clear,
// inquire.go asks why it refuses, proxy.go asks through a proxy, source.go has what a look brings home and reason.go
// and odd.go say in words what went wrong, known.go remembers, keys.go makes keys of leaves, bounds.go has every bound,
// metrics.go shows them at work.
//
// It must not know Kafka, ClickHouse, HTTP, JSON, records, uploads or the stages.
package certs
