// Package certs is where public keys come from: it fetches the certificates that a site serves now, checks them, and
// caches them with the keys in them.
//
// It owns the ways to get a certificate and the cache over them. A [Source] asks for a site's chains: [Network] dials
// the site, [Dir] reads files, [FirstOf] joins sources. A [Cache] over a source remembers answers, failures too, and
// prepared keys. The rules are those of docs/design.md, "Certificates".
//
// It promises that every chain it gives has a leaf that the service can verify with, that it connects to public
// addresses only, unless the operator named the address (I7), and that every wait has a bound.
//
// It does not check whether a certificate was revoked. crypto/tls consults neither OCSP (RFC 6960) nor revocation lists
// (RFC 5280, section 5), and neither does this package: a revoked certificate is accepted for as long as the site
// serves it, it has not expired, and the roots are trusted. The damage is limited because the certificate must be
// served, at that time, by the server that the name leads to.
//
// The files, from the site to the key: source.go defines what a source is, network.go asks a site over the network,
// address.go says which addresses may be dialled, probe.go makes one TLS handshake, reason.go says in words what went
// wrong, dir.go reads files, keys.go makes keys of leaves, fetch.go runs one call of a source for all who wait for it,
// cache.go remembers the answers.
//
// It must not know Kafka, ClickHouse, HTTP, JSON, records, uploads or the stages.
package certs
