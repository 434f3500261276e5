// Package embedded is the log's broker inside the process, for a service without a Kafka cluster: franz-go's kfake with a data
// directory that survives crashes, on a port of the loopback interface.
//
// It must not know ClickHouse, HTTP, records, certificates, signatures or the stages.
package embedded
