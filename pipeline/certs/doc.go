// Package certs is where public keys come from: the certificates that a site
// serves now, and the keys in them.
//
// A [Source] asks for a site's certificate chains; [Network] dials the site,
// [Dir] reads files, [FirstOf] joins sources, and a [Cache] over one of them
// remembers answers, failures too, and parsed keys. The rules are those of
// docs/design.md, "Certificates".
//
// The package promises that every chain it gives has a leaf the service can
// verify with, that it opens connections to public addresses only unless the
// operator named the address (invariant I7), and that every wait has a bound.
// It must not know what signatures are checked with the keys, nor anything of
// uploads, Kafka or ClickHouse.
//
// # What is not checked
//
// Revocation. crypto/tls consults neither OCSP (RFC 6960) nor revocation lists
// (RFC 5280, section 5), and neither does this package: a revoked certificate
// is accepted for as long as the site serves it, it has not expired, and the
// roots are trusted. What limits the damage is that the certificate must be
// served, at the time, by whoever answers for the name.
package certs
