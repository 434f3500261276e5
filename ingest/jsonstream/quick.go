package jsonstream

// The quick way: one pass over an element of the shape that nearly all have, decoding as it goes.
// It accepts or declines, and a declined element has left no trace in the columns.

import "slices"

// signatureRoom is how much room for a signature quick wants: the longest and the bytes that
// decodeText writes past its end.
const signatureRoom = MaxSignature + groupSlack

// quick reads the element at the start of b, which begins with '[', into the columns if it is a
// list of a SHA-256 in hex and a canonical base64 text, both without escapes, and all there. It
// returns the element's length, or 0 if it is anything else.
func (d *decoder) quick(b []byte) int {
	c := d.out.cols
	i := skipSpace(b, 1)
	if len(b)-i < 66 || b[i] != '"' || b[i+65] != '"' {
		return 0
	}
	n := len(c.Hashes)
	hashes := slices.Grow(c.Hashes, 32)[:n+32]
	letters := decodeHex((*[32]byte)(hashes[n:]), (*[64]byte)(b[i+1:]))
	if !letters.hash() {
		return 0
	}
	i = skipSpace(b, i+66)
	if i == len(b) || b[i] != ',' {
		return 0
	}
	i = skipSpace(b, i+1)
	if i == len(b) || b[i] != '"' {
		return 0
	}
	i++
	c.Signatures = slices.Grow(c.Signatures, signatureRoom)
	m := len(c.Signatures)
	room := c.Signatures[m : m+signatureRoom]
	length, text := decodeText(room, b[i:])
	i += text
	if i == len(b) || b[i] != '"' || length > MaxSignature || cutDER(room[:length]) {
		return 0
	}
	i = skipSpace(b, i+1)
	if i == len(b) || b[i] != ']' {
		return 0
	}
	if letters&hexUpper != 0 {
		c.markUpper()
	}
	c.Hashes = hashes
	c.Signatures = c.Signatures[:m+length]
	c.appendLength(length)
	return i + 1
}

// skipSpace returns the index of the first byte from i on that is not white space, or len(b).
func skipSpace(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}
