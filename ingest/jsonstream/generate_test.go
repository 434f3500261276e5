package jsonstream

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"strings"

	"pgregory.net/rapid"
)

// What the properties draw from: texts and bodies, mostly as clients send them, some of every other
// kind.

func hashText() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		text := hex.EncodeToString(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
		switch rapid.IntRange(0, 7).Draw(t, "kind of hash") {
		case 0:
			return strings.ToUpper(text)
		case 1:
			return text[:rapid.IntRange(0, 64).Draw(t, "length")]
		case 2:
			return replaceAt(t, text, []string{"g", "G", "A", "a", "\n", "é", "\x00", "\"", "\\"})
		case 3:
			return rapid.String().Draw(t, "text")
		}
		return text
	})
}

func signatureText() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		length := rapid.OneOf(rapid.IntRange(0, 80), rapid.Just(256), rapid.IntRange(1020, 1030)).Draw(t, "length")
		text := base64.StdEncoding.EncodeToString(rapid.SliceOfN(rapid.Byte(), length, length).Draw(t, "signature"))
		if rapid.Bool().Draw(t, "API's letters") {
			text = strings.NewReplacer("+", "-", "=", "_", "/", "~").Replace(text)
		}
		switch rapid.IntRange(0, 7).Draw(t, "kind of signature") {
		case 0:
			return replaceAt(t, text, []string{"=", "_", "", "\n", "\r\n", " ", "é", "\x00", "\"", "A", "AA", "-", "~"})
		case 1:
			return text[:rapid.IntRange(0, len(text)).Draw(t, "kept")]
		case 2:
			return rapid.String().Draw(t, "text")
		}
		return text
	})
}

// replaceAt replaces a byte of text, or appends to it.
func replaceAt(t *rapid.T, text string, by []string) string {
	at := rapid.IntRange(0, len(text)).Draw(t, "at")
	return text[:at] + rapid.SampledFrom(by).Draw(t, "by") + text[min(at+1, len(text)):]
}

// bodies draws good bodies of up to the given number of pairs, and the pairs.
func bodies(most int) *rapid.Generator[testBody] {
	return rapid.Custom(func(t *rapid.T) testBody {
		space := rapid.SampledFrom([]string{"", "", "", " ", "\n", "\r\n\t ", strings.Repeat(" ", 300)})
		var b bytes.Buffer
		put := func(s string) { b.WriteString(s + space.Draw(t, "space")) }
		if rapid.Bool().Draw(t, "mark") {
			b.WriteString("\xef\xbb\xbf")
		}
		put("")
		put("[")
		pairs := [][2]string{}
		for i := range rapid.IntRange(0, most).Draw(t, "pairs") {
			if i > 0 {
				put(",")
			}
			pair := [2]string{hashText().Draw(t, "hash"), signatureText().Draw(t, "signature")}
			put("[")
			put(jsonText(t, pair[0]))
			put(",")
			put(jsonText(t, pair[1]))
			put("]")
			pairs = append(pairs, pair)
		}
		put("]")
		return testBody{b.String(), pairs}
	})
}

type testBody struct {
	text  string
	pairs [][2]string
}

// jsonText writes a string as one of the ways that JSON has for it.
func jsonText(t *rapid.T, s string) string {
	quoted, _ := json.Marshal(s)
	text := string(quoted)
	switch rapid.IntRange(0, 9).Draw(t, "way to write a string") {
	case 0:
		return strings.ReplaceAll(text, "/", `\/`)
	case 1: // an ASCII character as an escape
		for i, c := range s {
			if c > ' ' && c < 0x7f && c != '"' && c != '\\' && !strings.Contains(s[:i], `"`) {
				return strings.Replace(text, string(c), `\u00`+hex.EncodeToString([]byte{byte(c)}), 1)
			}
		}
	}
	return text
}

// pieces reads a body in pieces of the given sizes, over and over.
type pieces struct {
	rest  string
	sizes []int
	n     int
	end   error // after the last byte; nil is io.EOF
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.rest == "" {
		if p.end != nil {
			return 0, p.end
		}
		return 0, io.EOF
	}
	n := min(p.sizes[p.n%len(p.sizes)], len(b), len(p.rest))
	p.n++
	copy(b, p.rest[:n])
	p.rest = p.rest[n:]
	return n, nil
}
