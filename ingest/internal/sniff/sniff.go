// Package sniff names what a body is that is not what it should be: people send forms, files in UTF-16 and compressed
// files where a JSON list belongs.
//
// It must not know any other package of this module.
package sniff

import (
	"bytes"
	"strings"
)

// Need is how many bytes of a body tell what it is. Fewer do where the body is shorter.
const Need = 80

// Mistake is something that is sent in place of a JSON list.
type Mistake struct {
	Found  string // what it is: "gzip data"
	Remedy string // what to do about it, an imperative
}

func (m Mistake) String() string { return m.Found + ": " + m.Remedy }

const (
	declare  = "compress the body once, and send it with the header Content-Encoding: "
	unpack   = "unpack it and send the list itself, or compress that with gzip or zstd"
	recode   = "send it in UTF-8; in PowerShell, write the file with -Encoding utf8"
	unform   = "send the list itself as the body, as curl --data-binary @FILE does"
	bareList = "send the list itself, with nothing around it"
)

// beginnings are by what the body begins with. The first one that fits counts.
var beginnings = []struct {
	with string
	is   Mistake
}{
	{"\x1f\x8b", Mistake{"gzip data", declare + "gzip"}},
	{"\x28\xb5\x2f\xfd", Mistake{"zstd data", declare + "zstd"}},
	{"\xfd7zXZ\x00", Mistake{"xz data", unpack}},
	{"BZh", Mistake{"bzip2 data", unpack}},
	{"PK\x03\x04", Mistake{"a ZIP file", unpack}},
	{"7z\xbc\xaf", Mistake{"a 7z file", unpack}},
	{"\x04\x22\x4d\x18", Mistake{"lz4 data", unpack}},
	{"\x78\x01", Mistake{"zlib data", unpack}},
	{"\x78\x5e", Mistake{"zlib data", unpack}},
	{"\x78\x9c", Mistake{"zlib data", unpack}},
	{"\x78\xda", Mistake{"zlib data", unpack}},
	{"\xff\xfe\x00\x00", Mistake{"text in UTF-32", recode}},
	{"\x00\x00\xfe\xff", Mistake{"text in UTF-32", recode}},
	{"\xff\xfe", Mistake{"text in UTF-16", recode}},
	{"\xfe\xff", Mistake{"text in UTF-16", recode}},
	{"[\x00\x00\x00", Mistake{"text in UTF-32", recode}},
	{"\x00\x00\x00[", Mistake{"text in UTF-32", recode}},
	{"[\x00", Mistake{"text in UTF-16", recode}},
	{"\x00[", Mistake{"text in UTF-16", recode}},
	{"-----BEGIN ", Mistake{"a PEM file", "send pairs of hashes and signatures; a private key stays where it is"}},
	{"--", Mistake{"a multipart form, as curl -F sends it", unform}},
	{"%5B", Mistake{"a percent-encoded form", unform}},
	{"%5b", Mistake{"a percent-encoded form", unform}},
	{"@", Mistake{"the name of a file", "send what is in the file; with curl, use --data-binary @FILE"}},
	{"<", Mistake{"HTML or XML", bareList}},
	{"{", Mistake{"an object", bareList}},
	{"[object ", Mistake{"a JavaScript object as text", "send what JSON.stringify makes of the list"}},
	{`"`, Mistake{"a string", "send the list itself; is it JSON that was encoded twice?"}},
	{"[{", Mistake{"a list of objects", `write each pair as a list of two strings: ["hash", "signature"]`}},
	{`["`, Mistake{"a list of strings", "put the pairs into one list with commas between them, even one pair alone; " +
		"a pair on each line is no list"}},
	{"['", Mistake{"text in single quotes", "JSON has double quotes; in Python, use json.dumps"}},
	{"[['", Mistake{"text in single quotes", "JSON has double quotes; in Python, use json.dumps"}},
	{"[(", Mistake{"round brackets", "JSON has square ones; in Python, use json.dumps"}},
}

// Of names what a body is by its first bytes, of which Need are looked at. ok is false where nothing is recognised. A
// list of pairs isn't.
func Of(head []byte) (m Mistake, ok bool) {
	head = head[:min(len(head), Need)]
	compact := withoutSpace(head)
	for _, b := range beginnings {
		if bytes.HasPrefix(head, []byte(b.with)) || strings.HasPrefix(compact, b.with) {
			return b.is, true
		}
	}
	if len(head) > 4 && bytes.HasPrefix(head[1:], []byte("\x2a\x4d\x18")) && head[0]&0xf0 == 0x50 { // a skippable frame
		return Mistake{"zstd data", declare + "zstd"}, true
	}
	switch {
	case hexDigits(head) >= 64:
		return Mistake{"a hash without quotes", `write each pair as ["hash", "signature"], all in one list; is it CSV, or ` +
			`what sha256sum prints?`}, true
	case isForm(head):
		return Mistake{"a form", unform}, true
	}
	return Mistake{}, false
}

// withoutSpace is the body's first bytes without the white space that JSON allows between them.
func withoutSpace(head []byte) string {
	return string(bytes.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n", r) {
			return -1
		}
		return r
	}, head))
}

func hexDigits(head []byte) (n int) {
	for n < len(head) && strings.IndexByte("0123456789abcdefABCDEF", head[n]) >= 0 {
		n++
	}
	return n
}

// isForm reports whether the body begins as "name=": the form of web pages and of curl --data-urlencode.
func isForm(head []byte) bool {
	name, _, found := bytes.Cut(head, []byte("="))
	if !found || len(name) == 0 {
		return false
	}
	for _, c := range name {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
		if !letter && strings.IndexByte("-._%+*", c) < 0 {
			return false
		}
	}
	return true
}
