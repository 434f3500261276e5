package jsonstream

// The general way: any element. scanPair finds where it ends and that it is a list of two strings, and unquote reads
// what is inside the strings: escapes, control characters and UTF-8.

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
)

type scanOutcome int

const (
	whole   scanOutcome = iota // a list of two strings, as far as their quotes go
	partial                    // the bytes end first
	wrong                      // something else
)

// scanPair looks at the element at the start of b and returns its length if it is whole.
func scanPair(b []byte) (int, scanOutcome) {
	i := 0
	for _, mark := range [...]byte{'[', '"', ',', '"', ']'} {
		if i = skipSpace(b, i); i == len(b) {
			return 0, partial
		}
		if b[i] != mark {
			return 0, wrong
		}
		i++
		if mark == '"' {
			n := stringEnd(b[i:])
			if n < 0 {
				return 0, partial
			}
			i += n + 1
		}
	}
	return i, whole
}

// stringEnd returns the index of the quote that closes a string, given what follows its opening
// one, or -1. Each byte is looked at twice at most.
func stringEnd(b []byte) int {
	for from := 0; ; {
		n := bytes.IndexByte(b[from:], '"')
		if n < 0 {
			return -1
		}
		end, back := from+n, from+n
		for back > from && b[back-1] == '\\' {
			back--
		}
		if (end-back)%2 == 0 {
			return end
		}
		from = end + 1
	}
}

// pair reads an element of two strings, which scanPair has measured, into the columns.
func (d *decoder) pair(element []byte) error {
	rest := element[bytes.IndexByte(element, '"')+1:]
	first := stringEnd(rest)
	hashText, ok := unquote(&d.texts[0], rest[:first])
	if !ok {
		return d.wrong(element)
	}
	rest = rest[first+1:]
	rest = rest[bytes.IndexByte(rest, '"')+1:]
	signatureText, ok := unquote(&d.texts[1], rest[:stringEnd(rest)])
	if !ok {
		return d.wrong(element)
	}
	d.pos += len(element)
	d.elements++
	return d.addPair(hashText, signatureText)
}

// addPair applies the pair rules to two strings.
func (d *decoder) addPair(hashText, signatureText []byte) error {
	c := d.out.cols
	hash, upper, reason := ParseHash(hashText)
	if reason != "" {
		c.appendUnparsed(string(hashText), reason)
		return d.out.cut()
	}
	if upper {
		c.markUpper()
	}
	c.Hashes = append(c.Hashes, hash[:]...)
	before := len(c.Signatures)
	c.Signatures, _ = decodeSignature(c.Signatures, signatureText)
	c.appendLength(len(c.Signatures) - before)
	return d.out.cut()
}

// unquote returns the text of a JSON string, given what stands between its quotes: as encoding/json reads it, so that
// invalid UTF-8 and lone surrogates become U+FFFD. It is false where encoding/json would refuse the string; [explain]
// then says why. The text is valid until room, or what is quoted, is written again.
func unquote(room *[]byte, quoted []byte) (text []byte, ok bool) {
	plain := plainLength(quoted)
	if plain == len(quoted) {
		return quoted, true
	}
	out := (*room)[:0]
	for i := 0; ; {
		out = append(out, quoted[i:i+plain]...)
		if i += plain; i == len(quoted) {
			*room = out
			return out, true
		}
		var r rune
		var n int
		switch c := quoted[i]; {
		case c < ' ':
			return nil, false
		case c == '\\':
			if r, n = unescape(quoted[i:]); n == 0 {
				return nil, false
			}
		default:
			r, n = utf8.DecodeRune(quoted[i:]) // U+FFFD, 1 where it is no UTF-8
		}
		out = utf8.AppendRune(out, r)
		i += n
		plain = plainLength(quoted[i:])
	}
}

// plainLength is how many bytes at the start of a string mean what they are: no control character, no backslash, and
// ASCII.
func plainLength(quoted []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; len(quoted)-i >= 8; i += 8 { // eight at a time: the highest bit of each byte says whether it is special
		v := binary.LittleEndian.Uint64(quoted[i:])
		backslash := v ^ ones*'\\'
		if (v|(v-ones*' ')|(backslash-ones)&^backslash)&highs != 0 {
			break
		}
	}
	for ; i < len(quoted); i++ {
		if c := quoted[i]; c < ' ' || c == '\\' || c >= utf8.RuneSelf {
			break
		}
	}
	return i
}

// unescape reads the escape at the start of b, and both halves of a pair of surrogates. length is 0 if it is none that
// JSON has.
func unescape(b []byte) (r rune, length int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch b[1] {
	case '"', '\\', '/':
		return rune(b[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
	default:
		return 0, 0
	}
	r, ok := hexRune(b[2:])
	if !ok {
		return 0, 0
	}
	if utf16.IsSurrogate(r) {
		if len(b) > 8 && b[6] == '\\' && b[7] == 'u' {
			low, ok := hexRune(b[8:])
			if both := utf16.DecodeRune(r, low); ok && both != utf8.RuneError {
				return both, 12
			}
		}
		return utf8.RuneError, 6
	}
	return r, 6
}

// hexRune reads four hex digits.
func hexRune(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		digit := hexTable[c]
		if digit&hexInvalid != 0 {
			return 0, false
		}
		r = r<<4 | rune(digit&0xf)
	}
	return r, true
}
