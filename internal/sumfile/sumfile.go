// Package sumfile reads lists of SHA-256 sums as sha256sum, shasum, BSD's sha256 and openssl write them.
//
// It owns the spellings of a line. It promises that a name comes out as the file is called, with the escapes of
// sha256sum undone, and that a line which is none of them is an error and never a hash.
//
// It must not know any other package of this module.
package sumfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
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

// Line is a line of a list that has a sum, or is wrong.
type Line struct {
	Entry
	Number int   // from 1
	Err    error // ErrNoSum; nil: there is a sum
}

// longestLine bounds a line: sixteen times the longest path that Linux takes, with each byte escaped.
const longestLine = 16 * 2 * 4096

// Read yields the lines of a list that say something. A UTF-8 byte-order mark before the first is skipped. The error is
// that of r, or that a line is too long; it is the last.
func Read(r io.Reader) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, longestLine)
		lines.Split(endedLines)
		number := 1
		for ; lines.Scan(); number++ {
			text := lines.Text()
			if number == 1 {
				text = strings.TrimPrefix(text, "\ufeff")
			}
			e, ok, err := Parse(text)
			if (ok || err != nil) && !yield(Line{e, number, err}, nil) {
				return
			}
		}
		err := lines.Err()
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("line %d is longer than %d bytes: this is no list of sums", number, longestLine)
		}
		if err != nil {
			yield(Line{}, err)
		}
	}
}

// endedLines splits at line feeds and leaves them, so that Parse sees the line as it was.
func endedLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i+1], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

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
