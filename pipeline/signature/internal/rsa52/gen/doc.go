// Command gen writes rsa52_amd64.s, the kernel of package rsa52.
//
//	go generate ./pipeline/signature/internal/rsa52
//
// It owns the text of that file, and promises the same text at every run. A test compares it with the committed file,
// byte for byte. The generator is our own because the usual one, avo v0.6.0, does not build with the golang.org/x/tools
// that Go 1.26 needs.
//
// The files: main.go writes the file, kernel.go writes the two functions as loops around tiles, tile.go writes a tile,
// the inner loop.
//
// It must not know any other package of this module.
package main
