// Package speaks finds out what listens at an address: a start that doesn't get on with Kafka or ClickHouse can then say
// that it was pointed at a web server, at ZooKeeper, or at a listener that wants TLS.
//
// It owns the first words of each language. It promises to ask within two seconds, with a handful of connections that
// change nothing at the other end, and to keep only the first bytes of each answer.
//
// It must not know any other package of this module.
package speaks
