package jsonstream

// The general way: any element. scanPair finds where it ends and that it is a list of two strings,
// so sonic only ever sees such lists: no nesting, no null, no number reaches it. What is inside the
// strings, escapes, control characters and UTF-8, is sonic's.

import (
	"bytes"
	"unsafe"

	"github.com/bytedance/sonic"
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

// groupPairs is how many elements sonic gets at once.
const groupPairs = 500

// group is the elements that are scanned but not yet decoded. They stand in the window one after
// the other, commas and white space between them, from start on; refill flushes them before it
// moves them.
type group struct {
	count      int
	start, end int    // in window.buf
	text       []byte // what sonic reads; the strings point into it
	pairs      [][2]string
}

// pairDecoder gives the strings that encoding/json would, without copying those that have no
// escape.
var pairDecoder = sonic.Config{ValidateString: true}.Froze()

// postpone adds the element of n bytes at pos to the group and consumes it.
func (d *decoder) postpone(n int) error {
	g := &d.group
	if g.count == 0 {
		g.start = d.pos
	}
	g.count++
	d.elements++
	d.pos += n
	g.end = d.pos
	if g.count == groupPairs {
		return d.flush()
	}
	return nil
}

// flush decodes the group into the columns.
func (d *decoder) flush() error {
	g := &d.group
	if g.count == 0 {
		return nil
	}
	g.text = append(append(append(g.text[:0], '['), d.buf[g.start:g.end]...), ']')
	// The strings in pairs may point into text, and are gone before it is written again.
	err := pairDecoder.UnmarshalFromString(unsafe.String(&g.text[0], len(g.text)), &g.pairs)
	if err != nil || len(g.pairs) != g.count {
		return d.blame(err)
	}
	g.count = 0
	for _, pair := range g.pairs {
		if err := d.addPair(pair[0], pair[1]); err != nil {
			return err
		}
	}
	return nil
}

// addPair applies the pair rules to two strings.
func (d *decoder) addPair(hashText, signatureText string) error {
	c := d.out.cols
	hash, upper, reason := ParseHash(hashText)
	if reason != "" {
		c.appendUnparsed(hashText, reason)
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

// blame finds the element of the group that sonic refused with err.
func (d *decoder) blame(err error) error {
	g := &d.group
	first, at := d.elements-g.count, g.start
	for i := range g.count {
		for d.buf[at] != '[' { // the comma and the white space between elements
			at++
		}
		n, _ := scanPair(d.buf[at:g.end])
		if where, reason := explain(d.buf[at : at+n]); reason != "" {
			return &SyntaxError{Element: first + i, Offset: d.base + int64(at+where), Reason: reason}
		}
		at += n
	}
	return &SyntaxError{Element: first, Offset: d.base + int64(g.start), Reason: "not valid JSON: " + err.Error()}
}
