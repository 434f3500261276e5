// Package jsonstream turns the body of an upload, a JSON list of pairs of strings, into columns of hashes and
// signatures while it arrives.
//
// It owns the rules for the text of a pair (what is a SHA-256 in hex, what is base64 with the API's letters) and for
// what is a well-formed body (docs/contract.md, "Bodies" and "Pairs"). It promises memory that does not grow with the
// body, the same result however the body is cut into reads, an exact place for every complaint, and no panic on any
// bytes (I6, I7).
//
// # How
//
// A window of at most 256 KiB slides over the body. Nearly every element is a list of 64 hex digits and a base64 text,
// without an escape: [decoder.quick] reads such an element in a single pass, straight into the columns, and complains
// of nothing. Whatever it declines goes the general way: [scanPair] finds the element's end and checks that it is a
// list of two strings, [unquote] reads the strings, and the pair rules are applied to those.
// Where either way finds something wrong, [explain] reads the element once more, strictly, to say which byte it is.
//
// The two ways give the same columns for every body: a property test holds them to it, and encoding/json is the oracle
// for what is accepted and which strings come out.
//
// Rejected: encoding/json's tokens (ten times slower); sonic, which makes machine code when the program starts, so that
// no command of it ran where a service may make none (MemoryDenyWriteExecute), and whose one use was reading escapes.
//
// # Order of reading
//
// decode.go is the list and its elements, window.go the bytes that it reads. quick.go and general.go turn elements into
// pairs by the rules of hash.go and signature.go. columns.go is what a run of pairs looks like, output.go cuts the
// runs. explain.go and errors.go say what is wrong.
//
// It must not know HTTP, Kafka, ClickHouse or certificates.
package jsonstream
