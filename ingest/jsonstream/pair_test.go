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
		{"a line feed behind", lowerHash + "\n", "65 characters, want 64; leave the line feed out"},
		{"sha256sum of an odd name", `\` + lowerHash, "want 64; sha256sum writes a backslash"},
		{"a line of sha256sum", lowerHash + "  file.txt", "want 64; send the hash without the file's name"},
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
		{"padding missing", "+w", "fb"},
		{"padding missing, API's letters", "-~8", "fbff"},
		{"padding short", "+w=", "bad"},
		{"base64url", "-_-_", "fbffbf"},
		{"base64url without padding", "-_8", "fbff"},
		{"base64url with padding", "-_8=", "fbff"},
		{"base64url in lines", "-_\r\n8=\n", "fbff"},
		{"base64url that ends as the API's padding does", "AAA_", "0000"},
		{"base64url and another letter for /", "-_~_", "bad"},
		{"base64url and another letter for +", "+_-_", "bad"},
		{"base64url with the API's padding", "-_-_-w__", "fbffbffb0fff"},
		{"base64url, one letter over", "-_-_A", "bad"},
		{"a whole signature in DER, API's padding", "MAYCAQECAQE_", "3006020101020101"},
		{"a signature in DER that would lack a byte", "MAcCAQECAgE_", "30070201010202013f"},
		{"padding long", "+w===", "bad"},
		{"padding after a whole group", "+/+/=", "bad"},
		{"padding alone", "====", "bad"},
		{"padding after one letter", "+===", "bad"},
		{"padding in the middle", "+w==+w==", "bad"},
		{"letters after padding", "+/8=AAAA", "bad"},
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

// oracleSignature is the API's rule in terms of encoding/base64: the API's own reading, then that of base64url.
func oracleSignature(text string) ([]byte, bool) {
	own, err := base64.StdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "=", "~", "/").Replace(text))
	url := strings.NewReplacer("\r", "", "\n", "").Replace(text)
	mixed := strings.Contains(url, "_") && strings.ContainsAny(url, "+/~")
	url = strings.NewReplacer("+", "-", "/", "_", "~", "_").Replace(url)
	encoding := base64.RawURLEncoding
	if strings.HasSuffix(url, "=") {
		encoding = base64.URLEncoding
	}
	other, otherErr := encoding.DecodeString(url)
	if mixed {
		otherErr = base64.CorruptInputError(0)
	}
	if err != nil || isDER(own) < 0 && otherErr == nil && isDER(other) == 0 {
		own, err = other, otherErr
	}
	if err != nil || len(own) > MaxSignature {
		return nil, false
	}
	return own, true
}

// isDER tells by the first bytes of an ECDSA signature how many bytes it has too many, negative: too few.
func isDER(sig []byte) int {
	switch {
	case len(sig) < 8 || sig[0] != 0x30:
		return 1 << 20
	case sig[1] == 0x81:
		return len(sig) - 3 - int(sig[2])
	}
	return len(sig) - 2 - int(sig[1])
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

// Whatever a signature's letters are, a client that writes base64url or leaves the padding out is understood, with
// ECDSA always, and with RSA unless the text can be the API's own.
func TestEveryAlphabetIsAcceptedWhateverTheLetters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.SampledFrom([]int{70, 71, 72, 102, 103, 104, 137, 138, 139, 256, 384, 512, 1024}).Draw(t, "length")
		sig := rapid.SliceOfN(rapid.Byte(), length, length).Draw(t, "signature")
		copy(sig[length-3:], rapid.SampledFrom([]string{"\xff\xff\xff", "\x00\x00\xff", "\x00\x3f\xff", "\x00\x00\x3f"}).Draw(t, "end"))
		switch {
		case length < 130:
			sig[0], sig[1] = 0x30, byte(length-2)
		case length < 140:
			sig[0], sig[1], sig[2] = 0x30, 0x81, byte(length-3)
		}
		own := strings.NewReplacer("+", "-", "=", "_", "/", "~").Replace(base64.StdEncoding.EncodeToString(sig))
		for name, text := range map[string]string{
			"standard": base64.StdEncoding.EncodeToString(sig), "the API's": own,
			"standard without padding": base64.RawStdEncoding.EncodeToString(sig), "the API's without padding": strings.TrimRight(own, "_"),
			"base64url": base64.URLEncoding.EncodeToString(sig), "base64url without padding": base64.RawURLEncoding.EncodeToString(sig),
		} {
			got, ok := DecodeSignature(nil, []byte(text))
			theirs := length > 141 && len(text)%4 == 0 && strings.Contains(text, "_") && strings.TrimRight(text, "_") == strings.ReplaceAll(text, "_", "")
			if (!ok || !bytes.Equal(got, sig)) && !theirs {
				t.Fatalf("%s of %d bytes: %q gives %d bytes, %v", name, length, text, len(got), ok)
			}
		}
	})
}
