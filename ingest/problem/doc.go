// Package problem has every error that a caller of the API can get, as an application/problem+json reply (RFC 9457).
//
// It owns the kinds of problems, their statuses and the sentences that tell a caller what was wrong, where, and what to
// do about it. It promises that each kind has one example that [Examples] returns, and that every problem is valid
// JSON, whatever bytes of a request it repeats.
//
// problem.go has the type and its JSON, catalog.go one constructor for each thing that can go wrong, examples.go what
// the pages behind /problems/ show.
//
// It must not know fasthttp, Kafka, ClickHouse, records, certificates or signatures.
package problem
