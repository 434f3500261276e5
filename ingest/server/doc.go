// Package server is HTTP/1.1 as the API needs it: it does what fasthttp leaves to its user, and brings requests to
// calls.
//
// It owns connections and how they end, heads and how they are misread, which call a path is for, bodies as they are on
// the wire, panics, the API's own certificate, and the operator's listener. Calls come in as a table: a method, a
// pattern, and either what serves a request or what admits it by its head.
//
// It promises that admission comes before the body is read, with "Expect: 100-continue" before the 100 (I6); that every
// read and write has a deadline, and no bytes make it panic (I7); that a refusal reaches a client which is still
// sending; that a connection which waits for its turn costs a socket and no goroutine; that the rest of a refused body
// is never taken for a request; and that what admission holds is given back on every path.
//
// # Order of reading
//
// config.go is the manual. server.go takes requests from fasthttp; head.go reads their heads, and route.go finds the
// call. exchange.go is what handlers see; body.go and coding.go are the stream of a body. listener.go, refusals.go,
// conn.go, linger.go and tls.go are below HTTP; metrics.go, failures.go, and admin.go with adminhost.go, beside it.
//
// It must not know uploads, records, Kafka or ClickHouse.
package server
