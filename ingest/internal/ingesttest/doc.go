// Package ingesttest has what the tests of ingest and of the packages below it share: an HTTP client that sees every
// detail of a reply, bodies of uploads, a store in memory, and waiting for conditions.
//
// It promises that nothing in it gives up because the machine is slow: every wait has a minute, and a whole request
// ten.
//
// serve.go runs servers, client.go speaks HTTP, pairs.go makes bodies, store.go stands for ClickHouse, until.go waits.
//
// It must not know fasthttp or Kafka.
package ingesttest
