// Package rsa52 verifies RSA signatures under one key, eight at once, with the 52-bit multiply-and-add instructions of
// AVX-512 IFMA.
//
// It owns the arithmetic for moduli of 2048 to 8192 bits with the exponent 65537.
//
// It promises the verdicts of crypto/rsa.VerifyPKCS1v15 with SHA-256. It doesn't choose where it is used: the caller of
// New has asked Supported and Fits. All that it handles is public, so nothing is constant-time.
//
// The files, from the key to the verdict: rsa52.go has the arithmetic, its bounds and the keys, verify.go puts
// signatures into lanes and reads verdicts from them, kernel_amd64.go declares the kernel, which is in rsa52_amd64.s
// and written by the command in gen.
//
// It must not know any other package of this module.
package rsa52
