package jsontext

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzAppendString holds strings to JSON that gives them back, but for bytes that are not UTF-8.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\/\b\f\n\r\t\x00\x7f", "é\u2028\U0001f600", "\xff\xc3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text := AppendString([]byte("before "), s)
		var got string
		if err := json.Unmarshal(text[len("before "):], &got); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		want := s
		if !utf8.ValidString(s) {
			want = string([]rune(s)) // each bad byte becomes U+FFFD
		}
		if got != want || !strings.HasPrefix(string(text), "before ") {
			t.Errorf("%q became %q", s, got)
		}
	})
}
