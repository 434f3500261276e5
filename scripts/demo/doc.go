// Command demo shows the main job on real files: it makes a certificate authority and two sites, starts the service
// with everything embedded, signs every file of the Go toolchain's source tree and hashes up to 100,000 pairs, uploads
// them, watches, and uploads them again. It is for people to read while it runs; `make demo` runs it.
//
// It must not know Kafka, ClickHouse, HTTP, JSON, records, certificates, signatures or the stages.
package main
