package mistake

// The ways to read the text of a signature.

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"unicode"
)

// reading is what a text may mean, and the mistake of whoever wrote it so.
type reading struct {
	signature []byte
	mistakes  []*Mistake
}

// readings are the ways to read the signature's text, that of the service first.
func readings(q Question) (all []reading) {
	add := func(sig []byte, mistakes ...*Mistake) {
		for _, r := range all {
			if bytes.Equal(r.signature, sig) {
				return
			}
		}
		if len(sig) > 0 {
			all = append(all, reading{sig, mistakes})
		}
	}
	add(q.Signature)
	text := strings.Trim(strings.TrimSpace(q.Text), `"'`)
	if plain, err := url.PathUnescape(text); err == nil && plain != text {
		for _, sig := range lenient(plain) {
			add(sig, escaped)
		}
		text = plain
	}
	if i := strings.LastIndex(text, "= "); i >= 0 { // openssl dgst -hex names its input
		text = text[i+2:]
	}
	add(fromHex(text), hexText)
	decoded := lenient(text)
	for _, sig := range decoded {
		add(sig, mixed)
	}
	for _, sig := range append(decoded, q.Signature) {
		inner := strings.TrimSpace(string(sig))
		add(fromHex(inner), twice)
		for _, again := range lenient(inner) {
			add(again, twice)
		}
	}
	return all
}

// fromHex reads hex with whatever stands between the digits in dumps; nil: it is none.
func fromHex(text string) []byte {
	text = strings.TrimPrefix(strings.TrimPrefix(text, "0x"), "0X")
	text = strings.NewReplacer(":", "", "-", "", " ", "", "\n", "", "\r", "", "\t", "").Replace(text)
	b, err := hex.DecodeString(text)
	if err != nil || len(b) < 32 {
		return nil
	}
	return b
}

// lenient reads base64 in any letters, with any padding or none. '_' at the end may be a letter or padding.
func lenient(text string) (all [][]byte) {
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text)
	letters := strings.NewReplacer("+", "-", "/", "_", "~", "_")
	for _, padding := range []string{"=", "=_"} {
		b, err := base64.RawURLEncoding.DecodeString(letters.Replace(strings.TrimRight(text, padding)))
		if err == nil && len(b) >= 32 {
			all = append(all, b)
		}
	}
	return all
}

// whereNoText says where a text stops being base64.
func whereNoText(text string) string {
	n := 0
	for _, r := range text {
		n++
		if r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("+/=-_~\r\n", r) {
			return fmt.Sprintf("Character %d is %q", n, r)
		}
	}
	return fmt.Sprintf("It has %d characters", n)
}
