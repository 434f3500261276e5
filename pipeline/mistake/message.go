package mistake

// What may have been signed instead of the hash's text.

import (
	"crypto"
	_ "crypto/md5"  // for crypto.MD5: what old programs sign with
	_ "crypto/sha1" // for crypto.SHA1
	"crypto/sha256"
	_ "crypto/sha512" // for crypto.SHA384 and SHA512
	"encoding/hex"
	"maps"
	"strings"
	"unicode/utf16"
)

// functions are the hash functions that are tried, the right one first.
var functions = []crypto.Hash{crypto.SHA256, crypto.SHA1, crypto.SHA512, crypto.SHA384, crypto.SHA224, crypto.MD5}

// message is a text that may have been signed, and the mistake of whoever did.
type message struct {
	text    []byte
	digests map[crypto.Hash][]byte // where only digests of the text are known
	mistake *Mistake               // nil: the right text
}

// digest is the digest that a signature would be over; nil: it is not known.
func (m message) digest(function crypto.Hash) []byte {
	if m.digests != nil {
		return m.digests[function]
	}
	h := function.New()
	h.Write(m.text)
	return h.Sum(nil)
}

// messages are what may have been signed, the right text first.
func messages(q Question) []message {
	hash := []byte(q.Hash)
	other := strings.ToUpper(q.Hash)
	if other == q.Hash {
		other = strings.ToLower(q.Hash)
	}
	raw, _ := hex.DecodeString(q.Hash) // the caller has checked it; if not, nothing is found under it
	sum := sha256.Sum256(hash)
	file := make(map[crypto.Hash][]byte)
	maps.Copy(file, q.Digests)
	file[crypto.SHA256] = raw
	all := []message{
		{text: hash},
		{text: []byte(other), mistake: letterCase},
		{text: raw, mistake: rawBytes},
		{digests: file, mistake: fileItself},
		{text: sum[:], mistake: hashedTwice},
		{text: []byte(hex.EncodeToString(sum[:])), mistake: hashedTwice},
		{text: []byte{}, mistake: nothing},
		{text: []byte("\n"), mistake: nothing},
	}
	for _, text := range []string{q.Hash, other} {
		all = append(all,
			message{text: []byte(text + "\n"), mistake: lineFeed},
			message{text: []byte(text + "\r\n"), mistake: carriageReturn},
			message{text: []byte(text + " "), mistake: otherEncoding},
			message{text: []byte(`"` + text + `"`), mistake: otherEncoding},
			message{text: []byte("\ufeff" + text), mistake: otherEncoding},
			message{text: utf16Text(text), mistake: otherEncoding},
			message{text: utf16Text("\ufeff" + text), mistake: otherEncoding},
			message{text: utf16Text(text + "\r\n"), mistake: otherEncoding},
			message{text: utf16Text("\ufeff" + text + "\r\n"), mistake: otherEncoding})
		for _, name := range append([]string{"-", "file"}, q.Names...) {
			for _, line := range sumLines(text, name) {
				all = append(all, message{text: []byte(line), mistake: sumLine}, message{text: []byte(line + "\n"), mistake: sumLine})
			}
		}
	}
	return distinct(all)
}

// utf16Text is a text as Windows writes it, little endian.
func utf16Text(text string) (b []byte) {
	for _, unit := range utf16.Encode([]rune(text)) {
		b = append(b, byte(unit), byte(unit>>8))
	}
	return b
}

// sumLines are the lines that sha256sum writes. Before a name that it has to escape it writes a backslash.
func sumLines(hash, name string) []string {
	if escaped := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`).Replace(name); escaped != name {
		hash, name = `\`+hash, escaped
	}
	return []string{hash + "  " + name, hash + " *" + name, hash + "  ", hash + "\t" + name}
}
