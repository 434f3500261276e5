package jsonstream

// The text of a hash (docs/contract.md, "letter case" and "not a hash").

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// ParseHash reads a SHA-256 in hex: 64 digits, letters all lower or all upper case. upper is set
// when they are upper case; digits alone count as lower. What is verified is the text as sent, and
// hash and upper are enough to write it again. For any other text it returns a reason, for the
// user, and a zero hash.
func ParseHash[T string | []byte](text T) (hash [32]byte, upper bool, reason string) {
	var digits [64]byte
	if n := copy(digits[:], text); n < 64 || n < len(text) {
		return hash, false, noHash(string(text))
	}
	letters := decodeHex(&hash, &digits)
	switch {
	case letters&hexInvalid != 0:
		return [32]byte{}, false, noHash(string(text))
	case !letters.hash():
		return [32]byte{}, false, "not a SHA-256 in hex: mixes upper and lower case letters"
	}
	return hash, letters&hexUpper != 0, ""
}

// noHash says why text is not 64 hex digits.
func noHash(text string) string {
	if n := utf8.RuneCountInString(text); n != 64 {
		return fmt.Sprintf("not a SHA-256 in hex: %d character%s, want 64%s", n, plural(n), surplus(text))
	}
	n := 0
	for _, r := range text {
		if n++; r >= utf8.RuneSelf || hexTable[r]&hexInvalid != 0 {
			return fmt.Sprintf("not a SHA-256 in hex: character %d is %q, want 0-9 and a-f", n, r)
		}
	}
	return "not a SHA-256 in hex"
}

// surplus says what stands around a hash, where that is what sha256sum or echo write there.
func surplus(text string) string {
	switch {
	case len(text) == 65 && text[0] == '\\':
		return "; sha256sum writes a backslash where it escapes the file's name: use sha256sum < FILE"
	case len(text) == 65 && text[64] == '\n':
		return "; leave the line feed out"
	case len(text) > 66 && text[64] == ' ':
		return "; send the hash without the file's name"
	}
	return ""
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// hexClass is a hex digit's value, in the low four bits, and its kind. The kinds of several digits
// are or-ed together.
type hexClass uint8

const (
	hexValue   hexClass = 0x0f
	hexLower   hexClass = 0x10 // a to f
	hexUpper   hexClass = 0x20 // A to F
	hexInvalid hexClass = 0x40
)

// hash tells whether digits of these kinds may make up a hash.
func (c hexClass) hash() bool {
	return c&hexInvalid == 0 && c&(hexLower|hexUpper) != hexLower|hexUpper
}

var hexTable = makeHexTable()

func makeHexTable() (t [256]hexClass) {
	for i := range t {
		t[i] = hexInvalid
	}
	for i := range hexClass(10) {
		t['0'+i] = i
	}
	for i := range hexClass(6) {
		t['a'+i] = hexLower | (10 + i)
		t['A'+i] = hexUpper | (10 + i)
	}
	return t
}

// decodeHex decodes all digits, whatever they are, and returns the kinds that occur.
func decodeHex(hash *[32]byte, digits *[64]byte) hexClass {
	var kinds hexClass
	for i := range hash {
		high, low := hexTable[digits[2*i]], hexTable[digits[2*i+1]]
		kinds |= high | low
		hash[i] = byte(high<<4 | low&hexValue)
	}
	return kinds
}

// clip bounds the text of an unparsed pair, which goes into results (I6): 256 bytes at most, the
// first 200 of longer ones.
func clip(text string) string {
	const most, kept = 256, 200
	text = strings.ToValidUTF8(text, "\ufffd")
	if len(text) <= most {
		return strings.Clone(text)
	}
	n := kept
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return fmt.Sprintf("%s… (%d bytes)", text[:n], len(text))
}
