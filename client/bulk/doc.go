// Package bulk signs any number of files and uploads what was signed.
//
// It owns in which portions files travel, what has to be signed at all, and what became of each file. It promises memory
// that doesn't grow with the number of files; that a source which pauses costs nothing, because no request is open while
// files are hashed and signed; that the same files can be given again after any interruption, and nothing that is stored
// is signed again; and one outcome for each file.
//
// bulk.go moves portions of files from step to step, outcome.go finds out what became of them.
//
// It must not know Kafka, ClickHouse, HTTP, records, certificates, signatures or the stages.
package bulk
