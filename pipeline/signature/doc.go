// Package signature verifies many signatures under one public key.
//
// It owns the choice of the implementation: the fastest that the processor, the key and the number of signatures allow.
//
// It promises that the choice never shows. Every verdict is the one that crypto/rsa.VerifyPKCS1v15 or
// crypto/ecdsa.VerifyASN1 would give. It starts no goroutines: the caller decides how many cores to use. It handles
// public data only (keys from certificates, signatures and digests that clients sent). So nothing here is
// constant-time, and nothing here may ever be given a secret.
//
// The implementations:
//
//   - RSA with exponent 65537 on a processor with AVX-512 IFMA: package internal/rsa52, eight signatures at once. It is
//     faster than the standard library for one signature, too, so it verifies all of them.
//   - ECDSA on P-256 and P-384: package internal/ecbatch, with a table for each key and inversions that many signatures
//     share. It uses AVX-512 IFMA where the processor has it.
//   - The standard library for every other key, and for all keys if the environment has COUNTERSIGN_CPU=generic.
//
// The files, from the key to the verdict: features.go finds out which implementations this process uses, key.go is what
// callers see, rsa.go and ecdsa.go say which keys are accepted and who verifies under them, price.go what that costs.
//
// It must not know Kafka, ClickHouse, HTTP, JSON, records, certificates, uploads or the stages.
package signature
