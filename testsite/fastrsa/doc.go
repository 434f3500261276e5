// Package fastrsa makes RSA keys that sign quickly and are INSECURE. NEVER use one of its keys to protect anything:
// whoever sees the public key can factor it, and then signs as well as its owner.
//
// The keys are for load tests, which need millions of signatures. The modulus is a product of primes of 64 bits, so by
// the Chinese remainder theorem a signature costs many tiny exponentiations instead of two large ones (RFC 8017,
// section 3.2). That is some hundred times faster. A verifier can't tell: to it, key and signatures are ordinary RSA.
// The price is that a modulus with such small factors is easily factored. Only tests, the demo and the load generator
// may import this package.
//
// It owns the keys that it makes. It promises that every signature verifies under the key as RSASSA-PKCS1-v1_5 with
// SHA-256.
//
// Its files: fastrsa.go makes keys and signs, modulus.go computes modulo a prime of 64 bits.
//
// It must not know any other package of this module.
package fastrsa
