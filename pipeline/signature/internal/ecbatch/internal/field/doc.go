// Package field is arithmetic modulo the four primes that ECDSA on P-256 and P-384 needs: the two coordinate fields and
// the two group orders.
//
// It owns one type for each prime. An element is an array of 64-bit limbs, least significant first, and always reduced:
// 0 <= element < modulus. Products are Montgomery products: Mul gives x*y/R modulo the modulus, with R = 2^256 or
// 2^384. Code that calls x "in Montgomery form" holds x*R; Enter and Leave convert. Addition, subtraction and
// comparison with zero are the same in both forms.
//
// It promises exact results. It does not promise constant time: the service only verifies, and all inputs of that are
// public.
//
// The files: field.go says what generic code may ask of the four types; p256.go, p256order.go, p384.go and p384order.go
// are the types, which package gen writes.
//
// It must not know any other package of this module.
package field
