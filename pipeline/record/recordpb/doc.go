// Package recordpb is the Go code of the records' messages, generated from record.proto, which documents them.
//
// It owns the encoding of the messages. It promises nothing of their contents: package record validates them.
//
// The files: record.proto has the messages, record.pb.go is generated from it.
//
// It must not know any other package of this module.
package recordpb
