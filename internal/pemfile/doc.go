// Package pemfile reads certificates and private keys from files as people have them: PEM with a byte-order mark, in
// UTF-16, with Windows line ends, text around the blocks or no line break between them, certificates and keys mixed;
// and DER, PKCS #7 and keys in all usual forms.
//
// It owns what such a file may look like. It promises to count what begins, and to account for all of it: a block is a
// certificate or key that was read, a [Problem] that names the block and says why it was not and what to do, or of a
// kind that is neither. One bad block spoils no other.
//
// Reading order: pemfile.go (a File), blocks.go (cutting PEM into blocks), content.go (what a block holds), use.go
// (what callers make of a File).
//
// Rejected: encoding/pem (passes over what it can't read in silence, and wants each block to begin on a line of its
// own); PKCS #12 (a password, and a library for it: openssl makes PEM of it once).
//
// It must not know any other package of this module.
package pemfile
