// Package ecbatch verifies many ECDSA signatures (FIPS 186-5, SHA-256 digests) under one public key on P-256 or P-384.
//
// It owns the arithmetic that makes many signatures under one key cheaper than one by one: tables of multiples of the
// generator and of the key, so that a signature is a sum of table entries, and inversions shared by a block of
// signatures.
//
// It promises exactly the answers of crypto/ecdsa.VerifyASN1, for every byte string: wherever its formulas have an
// exception it asks crypto/ecdsa. It chooses no implementation itself: the caller of New has asked Supported.
// Signatures, digests and public keys are public, so nothing here runs in constant time.
//
// The files, from the signature to the verdict: ecbatch.go has the keys, der.go decodes signatures, scalars.go computes
// what a signature multiplies the two points by, comb.go has the tables, adder.go adds many points at once, portable.go
// puts these together on every processor, vector.go does so in eight lanes, and ifma_amd64.go names the assembler
// kernels for that, which package internal/gen writes.
//
// It must not know Kafka, ClickHouse, HTTP, JSON, records, certificates, uploads or the stages.
package ecbatch
