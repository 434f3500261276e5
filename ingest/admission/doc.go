// Package admission decides whose request is served when not all can be, so that no client and no site closes the
// service for others.
//
// It owns who counts as one client, the places for open bodies, synchronous calls, their replies and connections, whose
// connection and whose request is read next, the rate that a body must keep, what a compressed body may unfold to, and
// the record of uploads that are accepted and not yet decided.
//
// It promises that every share is work-conserving: a place is never free while somebody waits for it, and one client
// alone gets everything. It promises that a client with fewer places never waits behind one with more, and that nobody
// waits longer than Config.MaxTurnWait for a turn, or Config.MaxWait for a place, until there is a yes or a no. Every
// bound is a field of Config with its unit and its reason. What a request may name freely, such as a site, never costs
// anybody else a place: see gate.go and ledger.go.
//
// Files, in the order in which a request passes them: config.go, client.go and forwarded.go (who asks), connections.go,
// pace.go with others.go and processors.go (turns), ledger.go, gate.go with evict.go (places), replies.go, rate.go and
// unfold.go (while a body is read), refusal.go with limits.go (what is said to those who get no place), metrics.go.
//
// It must not know Kafka, ClickHouse, HTTP, records, certificates, signatures or the stages.
package admission
