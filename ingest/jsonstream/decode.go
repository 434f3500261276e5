package jsonstream

// The top level of a body: mark, bracket, elements and commas, bracket, nothing.

import (
	"errors"
	"io"

	"countersign/ingest/internal/sniff"
)

// Limits bounds a body. Bytes are not among them: the reader counts those.
type Limits struct {
	MaxPairs   int // most pairs; 0 means 1,000,000
	MaxElement int // most bytes of one element, brackets included; 0 means 64 KiB
}

const (
	defaultMaxPairs   = 1_000_000
	defaultMaxElement = 64 << 10
)

func (l Limits) withDefaults() Limits {
	if l.MaxPairs <= 0 {
		l.MaxPairs = defaultMaxPairs
	}
	if l.MaxElement <= 0 {
		l.MaxElement = defaultMaxElement
	}
	return l
}

// Decode reads one JSON body from r to its end: a list of pairs of strings, with white space
// wherever JSON allows it and a UTF-8 byte-order mark skipped. It calls sink, on the calling
// goroutine and in order, for each run of pairs; see [Columns] for who owns one. A run ends where
// its batch does, where its columns exceed some 800 KiB, and where the list does, and nowhere else:
// the runs are a function of the body alone.
//
// It returns the number of pairs. The error is a *[SyntaxError] or *[LimitError], the sink's own as
// it came, or the reader's, wrapped; then earlier runs have been given to the sink already, and it
// is for the caller to drop them. What comes first in the body decides: what is wrong in bytes that were read before
// the reader failed is found first.
//
// Invalid UTF-8 and lone surrogate escapes become U+FFFD, as in encoding/json, so that they make an
// unparsed hash or a bad signature, not an error.
//
// It holds up to 256 KiB of the body (or four times MaxElement), the strings of 500 unusual pairs
// and one run.
func Decode(r io.Reader, lim Limits, sink func(*Columns) error) (pairs int, err error) {
	d := newDecoder(r, lim.withDefaults(), sink)
	if err := d.list(); err != nil {
		return 0, err
	}
	return d.elements, nil
}

type decoder struct {
	window
	lim      Limits
	elements int // whole elements so far, those in group included
	group    group
	out      output
	careful  bool // never the quick way: for tests of the general one
}

func newDecoder(r io.Reader, lim Limits, sink func(*Columns) error) *decoder {
	return &decoder{window: newWindow(r, lim.MaxElement), lim: lim, out: newOutput(sink)}
}

const insideList = "the body ends inside the list: was it cut off?"

func (d *decoder) list() error {
	if err := d.open(); err != nil {
		return err
	}
	for {
		c, err := d.next(d.elements, insideList)
		if err != nil {
			return err
		}
		if c == ']' && d.elements == 0 {
			break // an empty list; elsewhere a bracket here follows a comma
		}
		if err := d.element(c); err != nil {
			return err
		}
		c, err = d.next(d.elements-1, insideList)
		if err != nil {
			return err
		}
		if c == ']' {
			break
		}
		if c != ',' {
			return d.broken(d.elements-1,
				"expected a comma or the closing bracket of the list after a pair, found "+describe(c))
		}
		d.pos++
	}
	d.pos++
	if err := d.close(); err != nil {
		return err
	}
	return d.out.end()
}

// open consumes everything before the first element.
func (d *decoder) open() error {
	const mark = "\xef\xbb\xbf"
	for i := range len(mark) {
		if d.more(1); d.pos == d.end {
			break
		}
		if c := d.buf[d.pos]; c != mark[i] {
			if i > 0 {
				return d.broken(-1, "expected the rest of a UTF-8 byte-order mark, found "+describe(c))
			}
			break
		}
		d.pos++
	}
	c, err := d.next(-1, `the body is empty: send a list of pairs like [["hash", "signature"]]`)
	if err != nil {
		return err
	}
	if c != '[' {
		return d.looking("", &SyntaxError{
			Element: -1, Offset: d.offset(), Reason: `expected a list of pairs like [["hash", "signature"]], found ` + describe(c),
		})
	}
	d.pos++
	return nil
}

// close makes sure that nothing follows the list.
func (d *decoder) close() error {
	more, err := d.skip()
	switch {
	case err != nil:
		return err
	case more:
		reason := "expected the end of the body after the list, found " + describe(d.buf[d.pos])
		if d.buf[d.pos] == '[' {
			reason += ": send one list, with commas between its pairs"
		}
		return d.broken(-1, reason)
	case !errors.Is(d.err, io.EOF):
		return d.fail(d.err)
	}
	return d.flush()
}

// element consumes one element, which starts with c at pos.
func (d *decoder) element(c byte) error {
	if c == '[' && d.elements == d.lim.MaxPairs {
		return d.fail(&LimitError{LimitPairs, int64(d.lim.MaxPairs), d.elements, d.offset()})
	}
	for {
		b := d.unread()
		b = b[:min(len(b), d.lim.MaxElement)]
		if c == '[' && d.group.count == 0 && !d.careful {
			if n := d.quick(b); n > 0 {
				d.pos += n
				d.elements++
				return d.out.cut()
			}
		}
		n, outcome := scanPair(b)
		switch outcome {
		case whole:
			return d.postpone(n)
		case wrong:
			return d.wrong(b)
		case partial: // more of it is to come
		}
		if len(b) == d.lim.MaxElement {
			return d.fail(&LimitError{LimitElement, int64(d.lim.MaxElement), d.elements, d.offset()})
		}
		if errors.Is(d.err, io.EOF) {
			return d.wrong(b)
		}
		if d.err != nil {
			return d.fail(d.err)
		}
		// Twice as much before it is looked at again: a body that trickles in makes the same work
		// as one that arrives at once.
		if err := d.refill(min(2*len(b), d.lim.MaxElement)); err != nil {
			return err
		}
	}
}

// skip consumes white space and reports whether a byte follows it, at pos. If none does, the
// window's err says why.
func (d *decoder) skip() (bool, error) {
	for {
		for ; d.pos < d.end; d.pos++ {
			if !isSpace(d.buf[d.pos]) {
				return true, nil
			}
		}
		if d.err != nil {
			return false, nil //nolint:nilerr // the callers ask the window why it ended
		}
		if err := d.refill(1); err != nil {
			return false, err
		}
	}
}

// next returns the next byte that is not white space, without consuming it. It fails where the body
// ends, for the reason and in the element given.
func (d *decoder) next(element int, ended string) (byte, error) {
	found, err := d.skip()
	switch {
	case err != nil:
		return 0, err
	case found:
		return d.buf[d.pos], nil
	case !errors.Is(d.err, io.EOF):
		return 0, d.fail(d.err)
	}
	return 0, d.broken(element, ended)
}

// refill is more for when elements may be waiting in the group, whose text it would move.
func (d *decoder) refill(want int) error {
	if err := d.flush(); err != nil {
		return err
	}
	d.more(want)
	return nil
}

// fail returns err unless something before it in the body is wrong.
func (d *decoder) fail(err error) error {
	if earlier := d.flush(); earlier != nil {
		return earlier
	}
	return err
}

// broken fails at pos.
func (d *decoder) broken(element int, reason string) error {
	return d.fail(&SyntaxError{Element: element, Offset: d.offset(), Reason: reason})
}

// wrong fails somewhere in the element that starts b.
func (d *decoder) wrong(b []byte) error {
	at, reason := explain(b)
	broken := &SyntaxError{Element: d.elements, Offset: d.offset() + int64(at), Reason: reason}
	if d.elements == 0 {
		return d.looking("[", broken)
	}
	return d.fail(broken)
}

// looking returns err, which is about the beginning of the body, with what the body looks like. before is what of the
// body, white space aside, was consumed.
func (d *decoder) looking(before string, err *SyntaxError) error {
	d.more(sniff.Need) // nothing waits in the group, whose text this would move
	head := d.unread()
	if m, ok := sniff.Of(append([]byte(before), head[:min(len(head), sniff.Need)]...)); ok {
		err.Looks = m.String()
	}
	return err
}

// isSpace tells JSON's white space (RFC 8259, section 2).
func isSpace(c byte) bool {
	return c == ' ' || c == '\n' || c == '\t' || c == '\r'
}
