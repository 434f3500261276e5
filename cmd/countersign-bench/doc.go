// Command countersign-bench is the load generator: it measures a service beside OpenSSL and Go's crypto. It binds
// flags; package bench does the work. It is a program of its own because its keys sign quickly and are not secret: they
// must not be in the service's.
//
// It must not know Kafka, ClickHouse, HTTP, JSON, records, certificates, signatures or the stages.
package main
