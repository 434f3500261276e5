// Package signature verifies many signatures under one public key.
//
// It owns the choice of the fastest implementation that the machine, the key
// and the number of signatures allow, and the promise that the choice never
// shows: every verdict is the one that crypto/rsa.VerifyPKCS1v15 or
// crypto/ecdsa.VerifyASN1 would give. It must not know where keys come from,
// how signatures are transported, or what a verdict leads to, and it starts no
// goroutines: who calls it decides how many cores to use.
//
// Verification handles public data only (keys from certificates, signatures
// and digests that clients sent), so nothing here is constant-time and nothing
// here may ever be given a secret.
//
// # Implementations
//
//   - RSA with exponent 65537 on a processor with AVX-512 IFMA: package
//     internal/rsa52, eight signatures at once. It is the faster one for a lone
//     signature too, so it serves all of them.
//   - ECDSA on P-256 and P-384: package internal/ecbatch, a table per key and
//     shared inversions.
//   - Everything else, and all of it when the environment has
//     COUNTERSIGN_CPU=generic: the standard library.
package signature
