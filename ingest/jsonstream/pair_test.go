package jsonstream

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const (
	lowerHash = "2804fbcd69ab84e985955431a5dcdb20b0d999be2bf9e90280cdf030e94c15dc"
	digitHash = "2804000069008400859554310500002000099900200090028000003009400150"
)

func TestParseHash(t *testing.T) {
	for _, c := range []struct{ name, text, reason string }{
		{"lower case", lowerHash, ""},
		{"upper case", strings.ToUpper(lowerHash), ""},
		{"digits only", digitHash, ""},
		{"one letter, upper", digitHash[:63] + "F", ""},
		{"empty", "", "0 characters, want 64"},
		{"one", "a", "1 character, want 64"},
		{"one short", lowerHash[:63], "63 characters, want 64"},
		{"one long", lowerHash + "0", "65 characters, want 64"},
		{"a line feed behind", lowerHash + "\n", "65 characters, want 64"},
		{"SHA-1", lowerHash[:40], "40 characters, want 64"},
		{"mixed case", "A" + lowerHash[1:], "mixes upper and lower case letters"},
		{"mixed at the end", lowerHash[:63] + "C", "mixes upper and lower case letters"},
		{"no digit", lowerHash[:10] + "g" + lowerHash[11:], `character 11 is 'g'`},
		{"space", " " + lowerHash[1:], `character 1 is ' '`},
		{"NUL", lowerHash[:63] + "\x00", `character 64 is '\x00'`},
		{"64 bytes, fewer characters", lowerHash[:62] + "é", "63 characters, want 64"},
		{"64 characters, more bytes", lowerHash[:63] + "é", `character 64 is 'é'`},
		{"no UTF-8", lowerHash[:63] + "\xff", "character 64 is '\ufffd'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			hash, upper, reason := ParseHash(c.text)
			fromBytes, upperFromBytes, reasonFromBytes := ParseHash([]byte(c.text))
			if hash != fromBytes || upper != upperFromBytes || reason != reasonFromBytes {
				t.Error("string and bytes differ")
			}
			if c.reason != "" {
				if !strings.HasPrefix(reason, "not a SHA-256 in hex: ") || !strings.Contains(reason, c.reason) ||
					hash != [32]byte{} || upper {
					t.Errorf("got %x, %v, %q, want a reason with %q and nothing else", hash, upper, reason, c.reason)
				}
				return
			}
			text := hex.EncodeToString(hash[:])
			if upper {
				text = strings.ToUpper(text)
			}
			if reason != "" || text != c.text {
				t.Errorf("got %x, %v, %q", hash, upper, reason)
			}
		})
	}
}

func TestDecodeSignature(t *testing.T) {
	long := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for _, c := range []struct {
		name, text string
		want       string // hex, or "bad"
	}{
		{"empty", "", ""},
		{"standard letters", "+/+/", "fbffbf"},
		{"the API's letters", "-~-~", "fbffbf"},
		{"both kinds", "+~-/", "fbffbf"},
		{"one byte", "+w==", "fb"},
		{"one byte, API's padding", "-w__", "fb"},
		{"one byte, both paddings", "-w_=", "fb"},
		{"two bytes", "+/8=", "fbff"},
		{"two bytes, API's padding", "-~8_", "fbff"},
		{"after a long run", "AAAAAAAAAAAAAAAAAAAAAAAA-w__", strings.Repeat("00", 18) + "fb"},
		{"left-over bits", "+x==", "fb"},
		{"wrapped lines", "+/\r\n+/\n", "fbffbf"},
		{"a line break within padding", "+w=\n=\n", "fb"},
		{"nothing but line breaks", "\r\n\n", ""},
		{"padding missing", "+w", "bad"},
		{"padding short", "+w=", "bad"},
		{"padding of two, one missing", "+/8", "bad"},
		{"padding long", "+w===", "bad"},
		{"padding after a whole group", "+/+/=", "bad"},
		{"padding alone", "====", "bad"},
		{"padding after one letter", "+===", "bad"},
		{"padding in the middle", "+w==+w==", "bad"},
		{"letters after padding", "+/8=AAAA", "bad"},
		{"underscore as in base64url", "-_-_", "bad"},
		{"one letter over", "+/+/A", "bad"},
		{"space", "+/ +/", "bad"},
		{"tab", "\t+/+/", "bad"},
		{"percent escapes", "%2B%2F%2B%2F", "bad"},
		{"not ASCII", "+/é/", "bad"},
		{"NUL", "+/+\x00", "bad"},
		{"RSA-8192", long(1024), strings.Repeat("00", 1024)},
		{"a byte more", long(1025), "bad"},
		{"two bytes more", long(1026), "bad"},
		{"far more", long(5000), "bad"},
		{"RSA-8192 in lines", strings.Join(strings.SplitAfter(long(1024), "AAAA"), "\n"), strings.Repeat("00", 1024)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := DecodeSignature([]byte("before"), []byte(c.text))
			if !bytes.HasPrefix(got, []byte("before")) {
				t.Fatalf("lost what was in dst: %q", got)
			}
			got = got[len("before"):]
			if !ok && c.want != "bad" || !ok && len(got) > 0 || ok && hex.EncodeToString(got) != c.want {
				t.Errorf("got %x, %v, want %s", got, ok, c.want)
			}
		})
	}
}

// oracleSignature is the API's rule in terms of encoding/base64.
func oracleSignature(text string) ([]byte, bool) {
	b, err := base64.StdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "=", "~", "/").Replace(text))
	if err != nil || len(b) > MaxSignature {
		return nil, false
	}
	return b, true
}

// oracleHash is the API's rule in terms of encoding/hex.
func oracleHash(text string) (hash []byte, upper, ok bool) {
	hash, err := hex.DecodeString(text)
	switch {
	case err != nil || len(hash) != 32:
		return make([]byte, 32), false, false
	case text == strings.ToLower(text):
		return hash, false, true
	case text == strings.ToUpper(text):
		return hash, true, true
	}
	return make([]byte, 32), false, false
}

// checkPair holds the pair rules against their oracles.
func checkPair(t interface{ Fatalf(string, ...any) }, hashText, signatureText string) {
	hash, upper, reason := ParseHash(hashText)
	wantHash, wantUpper, ok := oracleHash(hashText)
	if !bytes.Equal(hash[:], wantHash) || upper != wantUpper || ok != (reason == "") {
		t.Fatalf("ParseHash(%q) = %x, %v, %q, want %x, %v, %v", hashText, hash, upper, reason, wantHash, wantUpper, ok)
	}
	got, ok := DecodeSignature(nil, []byte(signatureText))
	want, wantOK := oracleSignature(signatureText)
	if ok != wantOK || !bytes.Equal(got, want) {
		t.Fatalf("DecodeSignature(%q) = %x, %v, want %x, %v", signatureText, got, ok, want, wantOK)
	}
}

func TestPairRulesAgainstTheStandardLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkPair(t, hashText().Draw(t, "hash"), signatureText().Draw(t, "signature"))
	})
}

func FuzzPair(f *testing.F) {
	f.Add(lowerHash, "+/8=")
	f.Add(strings.ToUpper(lowerHash), "-~8_")
	f.Add("A"+lowerHash[1:], "+w=\n=")
	f.Add(lowerHash[:63]+"é", "AAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, hash, signature string) { checkPair(t, hash, signature) })
}
