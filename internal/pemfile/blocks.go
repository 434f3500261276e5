package pemfile

// Cutting a text into PEM blocks (RFC 7468). A block begins wherever BEGIN stands behind dashes, not only at the start
// of a line: `cat` joins files whose last line has no end. Bytes that are no text become no block.

import (
	"bytes"
	"encoding/base64"
	"errors"
	"regexp"
	"strings"
)

// block is a piece of a file.
type block struct {
	number, line int    // from 1
	label        string // such as CERTIFICATE
	der          []byte
	encrypted    bool // by a header, as OpenSSL did it before PKCS #8
	why          string
	err          error // der couldn't be had, for the reason why
}

// How blocks begin and end. The number of dashes isn't held against anybody.
var (
	begins = regexp.MustCompile(`-{2,} ?BEGIN ([A-Z0-9][A-Z0-9 .#]*?) ?-{2,}`)
	ends   = regexp.MustCompile(`-{2,} ?END ([A-Z0-9][A-Z0-9 .#]*?) ?-{2,}`)
)

// cut finds the blocks of a text.
func cut(text []byte) []block {
	text = bytes.ReplaceAll(text, []byte("\r"), nil)
	text = bytes.ReplaceAll(text, []byte(`\n`), []byte("\n")) // as in JSON and environment variables
	var blocks []block
	line := 1
	for {
		at := begins.FindSubmatchIndex(text)
		if at == nil {
			return blocks
		}
		line += bytes.Count(text[:at[2]], []byte("\n"))
		b := block{number: len(blocks) + 1, line: line, label: string(text[at[2]:at[3]])}
		text = text[at[1]:]
		rest := len(text)
		if next := begins.FindIndex(text); next != nil {
			rest = next[0]
		}
		b.read(text[:min(len(text), rest+len("-----"))]) // the dashes of an END may be those of the next BEGIN
		blocks = append(blocks, b)
	}
}

var errUnread = errors.New("unread")

// read takes what is between the first line of a block and the next block.
func (b *block) read(text []byte) {
	end := ends.FindSubmatchIndex(text)
	switch {
	case end == nil:
		b.why = "it has no line -----END " + b.label + "-----, as if the file had been cut off; copy it again as a whole"
	case string(text[end[2]:end[3]]) != b.label:
		b.why = "it ends as another block than it begins; copy it again as a whole"
	}
	if b.why != "" {
		b.err = errUnread
		return
	}
	body := string(text[:end[0]])
	for {
		first, rest, more := strings.Cut(strings.TrimLeft(body, " \t\n"), "\n")
		if !more || !strings.Contains(first, ":") {
			break
		}
		b.encrypted = b.encrypted || strings.HasPrefix(first, "Proc-Type:") && strings.Contains(first, "ENCRYPTED")
		body = rest
	}
	var err error
	if b.der, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(body), "")); err != nil {
		b.why, b.err = "what is between its first and last line is damaged (no base64); copy it again as a whole", err
	}
}
