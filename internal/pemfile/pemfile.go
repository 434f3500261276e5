package pemfile

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxSize is how long a file may be, in bytes. The bundle of all public authorities takes a fortieth of that.
const MaxSize = 8 << 20

// File is what a file holds.
type File struct {
	Name         string
	Certificates []*x509.Certificate // in the order of the file
	Keys         []crypto.Signer     // RSA and ECDSA
	Problems     []*Problem          // blocks that should hold a certificate or key, and from which none could be had

	requests bool // a block is a request for a certificate
}

// Kind says what a block should hold.
type Kind int

const (
	Certificate Kind = iota
	Key
)

// Problem is the error about one block.
type Problem struct {
	File  string
	Block int // from 1, of those in the file
	Line  int // from 1, where the block begins; 0: the file is binary
	Kind  Kind
	Why   string // what is wrong and what to do, without any text of the block
	Err   error  // the cause, which may quote the block; nil: none
}

// Where names the block without the file.
func (p *Problem) Where() string {
	if p.Line == 0 {
		return "its content"
	}
	return fmt.Sprintf("block %d (line %d)", p.Block, p.Line)
}

func (p *Problem) Error() string {
	text := fmt.Sprintf("%s, %s: %s", p.File, p.Where(), p.Why)
	if p.Err != nil {
		text += " (" + p.Err.Error() + ")"
	}
	return text
}

func (p *Problem) Unwrap() error { return p.Err }

// Read reads a file. The error says why it can't be read at all; what is wrong with its content is in the File.
func Read(name string) (*File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > MaxSize:
		return nil, fmt.Errorf("%s is longer than %d MiB, so that it is no file of certificates or keys", name, MaxSize>>20)
	}
	return Parse(name, text), nil
}

// Parse reads the content of a file. name is for messages.
func Parse(name string, content []byte) *File {
	f := &File{Name: name}
	blocks := cut(decode(content))
	if len(blocks) == 0 && isDER(content) {
		f.addBinary(content)
	}
	for _, b := range blocks {
		f.add(b)
	}
	return f
}

// isDER says whether what begins as DER does is no text.
func isDER(content []byte) bool {
	const sequence = 0x30 // also the digit 0
	return len(content) > 0 && content[0] == sequence && bytes.ContainsFunc(content, func(r rune) bool {
		return r == utf8.RuneError || unicode.IsControl(r) && !unicode.IsSpace(r)
	})
}

// decode gives the text of a file in UTF-8, whichever encoding a Windows editor or shell wrote it in.
func decode(content []byte) (text []byte) {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(content, []byte("\xff\xfe")):
		order = binary.LittleEndian
	case bytes.HasPrefix(content, []byte("\xfe\xff")):
		order = binary.BigEndian
	case bytes.HasPrefix(content, []byte("-\x00-\x00")):
		order = binary.LittleEndian
	case bytes.HasPrefix(content, []byte("\x00-\x00-")):
		order = binary.BigEndian
	default:
		return bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	}
	var units []uint16
	for ; len(content) >= 2; content = content[2:] {
		units = append(units, order.Uint16(content))
	}
	return []byte(strings.TrimPrefix(string(utf16.Decode(units)), "\ufeff"))
}

// nothing says why a file has none of what is wanted. wanted is such as "certificate".
func (f *File) nothing(kind Kind, wanted string) error {
	var problems []error
	for _, p := range f.of(kind) {
		problems = append(problems, p)
	}
	found := ""
	switch {
	case len(problems) > 0:
		return errors.Join(problems...)
	case kind == Certificate && len(f.Keys) > 0:
		found = ", but a private key: is it the other file?"
	case kind == Key && len(f.Certificates) > 0:
		found = ", but a certificate: is it the other file?"
	case f.requests:
		found = ", but a request for one: give the certificate that the authority made from it"
	}
	return fmt.Errorf("%s holds no %s%s", f.Name, wanted, found)
}
