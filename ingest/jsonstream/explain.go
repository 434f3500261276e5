package jsonstream

// Saying what is wrong with an element, once it is known that something is. This reads strictly by
// RFC 8259 and stops at the first byte that cannot be right.

import "fmt"

const pairForm = `an element is a pair of strings like ["hash", "signature"]`

// explain returns where the element at the start of b breaks and why, for the user. An element that
// b holds only the start of breaks at its end. The reason is empty if nothing is wrong.
func explain(b []byte) (at int, reason string) {
	steps := [...]struct {
		mark   byte
		reason string
	}{
		{'[', pairForm},
		{'"', "the hash, first of a pair, must be a string"},
		{',', "a pair has two strings: expected a comma after the first"},
		{'"', "the signature, second of a pair, must be a string"},
		{']', "a pair has two strings: expected its closing bracket after the second"},
	}
	i := 0
	for n, step := range steps {
		i = skipSpace(b, i)
		if i == len(b) {
			return i, "the body ends inside a pair: was it cut off?"
		}
		if c := b[i]; c != step.mark {
			if n == 0 && c == ']' {
				return i, "a comma after the last pair: expected another pair"
			}
			return i, step.reason + ", found " + describe(c)
		}
		i++
		if step.mark == '"' {
			if i, reason = explainString(b, i); reason != "" {
				return i, reason
			}
		}
	}
	return i, ""
}

// explainString reads on after an opening quote, to behind the closing one.
func explainString(b []byte, i int) (at int, reason string) {
	for ; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1, ""
		case c < ' ':
			return i, fmt.Sprintf(
				"a control character (0x%02x) in a string: write it as an escape such as \\n or \\u%04x", c, c)
		case c == '\\':
			if i, reason = explainEscape(b, i+1); reason != "" {
				return i, reason
			}
		}
	}
	return len(b), "the body ends inside a string: was it cut off?"
}

// explainEscape reads on after a backslash, to the last byte of the escape.
func explainEscape(b []byte, i int) (at int, reason string) {
	if i >= len(b) {
		return len(b), ""
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i, ""
	case 'u':
	default:
		return i, "no escape in JSON is a backslash and " + character(b[i])
	}
	for range 4 {
		if i++; i >= len(b) {
			return len(b), ""
		}
		if hexTable[b[i]]&hexInvalid != 0 {
			return i, "expected four hex digits after \\u, found " + character(b[i])
		}
	}
	return i, ""
}

// describe names what a byte, found where JSON has a token, begins.
func describe(c byte) string {
	switch {
	case c == '"':
		return "a string"
	case c == '[':
		return "a list"
	case c == '{':
		return "an object"
	case c == ']' || c == '}':
		return fmt.Sprintf("a closing %q", c)
	case c == '-' || '0' <= c && c <= '9':
		return "a number"
	case c == 't' || c == 'f' || c == 'n':
		return fmt.Sprintf("%q, as in true, false or null", c)
	}
	return character(c)
}

// character names a byte for what it is.
func character(c byte) string {
	if c > ' ' && c < 0x7f {
		return fmt.Sprintf("%q", c)
	}
	return fmt.Sprintf("the byte 0x%02x", c)
}
