package jsonstream

// What a caller of Decode can be told: bodies that are no list of pairs, and bodies that exceed a limit.

import "fmt"

// SyntaxError says where a body stops being a list of pairs of strings. Its text is for the user:
// it names the place and what belongs there. The fitting status is 400.
type SyntaxError struct {
	// Element is the 0-based index of the list element where the body broke: the one that holds the
	// offending byte, that was expected there, or that ends before it. It is
	// -1 before and after the list.
	Element int
	// Offset is where the first byte that cannot be right is, counted in bytes from the start of
	// the body, a byte-order mark included: no valid body starts with everything up to and
	// including it. A body that is cut off breaks at its length.
	Offset int64
	// Reason is what was found and what belongs there.
	Reason string
	// Looks is what the body as a whole seems to be, and what to do about it. It is empty where that isn't recognised,
	// and behind the first element.
	Looks string
}

func (e *SyntaxError) Error() string {
	place := fmt.Sprintf("at byte %d", e.Offset)
	if e.Element >= 0 {
		place = fmt.Sprintf("element %d, %s", e.Element, place)
	}
	text := "the body is not a list of pairs of strings: " + place + ": " + e.Reason
	if e.Looks != "" {
		text += "; it looks like " + e.Looks
	}
	return text
}

// The values of [LimitError].Limit.
const (
	LimitPairs   = "pairs"   // more pairs than Limits.MaxPairs
	LimitElement = "element" // an element of more bytes than Limits.MaxElement
)

// LimitError says that a body, so far well formed, exceeds one of the [Limits]. Its text is for the
// user and names the remedy. The fitting status is 413.
type LimitError struct {
	Limit   string // LimitPairs or LimitElement
	Max     int64  // the limit's value: pairs, or bytes
	Element int    // 0-based index of the element that exceeds it
	Offset  int64  // where that element starts, in bytes from the start of the body
}

func (e *LimitError) Error() string {
	if e.Limit == LimitPairs {
		return fmt.Sprintf("the body has more than %d pairs, the most that one request may carry: "+
			"send them in several requests", e.Max)
	}
	return fmt.Sprintf("element %d, at byte %d, is longer than %d bytes, the most that one pair may take: "+
		"send the hash in hex and its signature in base64, nothing else", e.Element, e.Offset, e.Max)
}
