// Package bytesize is how people write a number of bytes to the programs of this module: 512MiB, 4GiB, 1000.
//
// It owns the spelling: binary units, one letter or three, and the error that says what is expected.
//
// It must not know any other package of this module.
package bytesize
