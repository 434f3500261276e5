// Package testsite makes sites that sign: a private certificate authority, certificates under it, and TLS servers on
// loopback that really serve them.
//
// It is for tests, the demo and the load generator, which need sites whose private keys they hold. It owns the keys
// that it makes and the listeners that it opens. It promises that nothing listens on any address but 127.0.0.1. It does
// not use package pipeline/certs, which fetches, validates and caches certificates for the service, so that it can be
// used to test that package.
//
// The files, from the authority to the signature: ca.go makes authorities and issues certificates, site.go makes a
// site's keys and replaces them, serve.go serves its certificates over TLS, sign.go signs hashes with its keys.
//
// It must not know Kafka, ClickHouse, records, uploads or the stages.
package testsite
