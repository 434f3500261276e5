// Package record is what travels through the log: the messages of every topic, their validation, and the rules that all
// stages must share to the bit.
//
// It owns the messages (package recordpb), the names of topics and groups, and the rules: what a batch is, when it is
// done, where its claims are cut, which shard owns a hash, and what a site is called.
//
// It promises that a decoded record holds together: columns agree in length, positions lie inside their batch, names
// and identifiers have their shape. So a stage indexes the columns of a decoded record without further checks (I7).
//
// The files, in the order in which data passes them: site.go gives a site its name, record.go has topics, sizes and
// columns, batch.go has the rules about batches and single signings, reasons.go writes equal reasons once, decode.go
// validates what comes back from the log.
//
// It must not know Kafka, ClickHouse, HTTP, certificates, signatures or the stages.
package record
