// Command emit writes the generated files of package ecbatch below the current directory, which must be that package's.
//
// It owns nothing and promises what package gen promises; main.go is all of it.
//
// It must not know Kafka, ClickHouse, HTTP, JSON, records, certificates, uploads or the stages.
package main
