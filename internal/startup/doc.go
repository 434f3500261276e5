// Package startup waits for what a process needs before it can work: a Kafka, a ClickHouse.
//
// It owns the patience of a start and its words. It promises that a wait is announced in the log as soon as an attempt
// has failed or has taken a second, and every ten seconds from then on, with what stands in the way; and that it ends
// early once it is plain that waiting doesn't help.
//
// It must not know any other package of this module.
package startup
