// Package sumfile reads lists of SHA-256 sums as sha256sum, shasum, BSD's sha256 and openssl write them.
//
// It owns the spellings of a line. It promises that a name comes out as the file is called, with the escapes of
// sha256sum undone, and that a line which is none of them is an error and never a hash.
//
// It must not know any other package of this module.
package sumfile

import (
	"errors"
	"regexp"
	"strings"
)

// Entry is one line of a list.
type Entry struct {
	Hash string // 64 hex digits, as written
	Name string // of the file; empty: the line has the hash alone
}

// ErrNoSum says that a line is not in any of the spellings.
var ErrNoSum = errors.New(`not a line of sha256sum: expected 64 hex digits, alone or with a name behind two spaces, or "SHA256 (name) = " and the digits`)

var (
	gnu  = regexp.MustCompile(`^([0-9a-fA-F]{64})(?: [ *](.+))?$`)
	tags = regexp.MustCompile(`^SHA(?:2-)?256 ?\((.+)\) ?= ?([0-9a-fA-F]{64})$`) // BSD with spaces, openssl without
)

// Parse reads one line. A line feed, or both characters of a Windows line end, may stand at its end. ok is false where
// the line says nothing: it is blank, or a comment that begins with #. The error is ErrNoSum.
func Parse(line string) (e Entry, ok bool, err error) {
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if strings.TrimSpace(line) == "" || line[0] == '#' {
		return e, false, nil
	}
	// A name with a backslash, a line feed or a carriage return makes sha256sum escape it and begin the line so.
	line, escaped := strings.CutPrefix(line, `\`)
	if m := gnu.FindStringSubmatch(line); m != nil {
		e = Entry{m[1], m[2]}
	} else if m := tags.FindStringSubmatch(line); m != nil {
		e = Entry{m[2], m[1]}
	} else {
		return e, false, ErrNoSum
	}
	if escaped {
		if e.Name, ok = unescape(e.Name); !ok {
			return Entry{}, false, ErrNoSum
		}
	}
	return e, true, nil
}

// unescape undoes the escapes of a name. ok is false where there are others than sha256sum writes.
func unescape(name string) (plain string, ok bool) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(name, `\`)
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		if after == "" {
			return "", false
		}
		switch after[0] {
		case '\\':
			b.WriteByte('\\')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		default:
			return "", false
		}
		name = after[1:]
	}
}
