package jsonstream

// The text of a signature (docs/contract.md, "signature text").

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// DecodeSignature decodes the text of a signature and appends the bytes to dst. It reports whether text is one and no
// longer than [MaxSignature]; if not, dst comes back as it was, and the signature is a bad one.
//
// The text is standard base64 (RFC 4648, section 4) in which '-' may stand for '+', '_' for '=' and '~' for '/', each
// letter by itself. Where the RFC leaves room, it does what encoding/base64 does: padding is required and nothing
// follows it; line breaks (CR, LF) are skipped, because base64 and openssl wrap lines unless told not to; bits that the
// last letter has left over are not looked at. None of this lets a wrong signature through: what counts is the bytes.
//
// A text that can't be that is read in base64url (RFC 4648, section 5), in which '_' stands for '/', or without its
// padding: see [decodeURL]. So whether a client's signatures are accepted never depends on the letters that they happen
// to have. A text that has its only '_' at the end can be read in both ways. It is the API's own, unless what comes out
// is an ECDSA signature that lacks exactly what the other reading adds.
func DecodeSignature(dst []byte, text []byte) ([]byte, bool) {
	return decodeSignature(dst, text)
}

func decodeSignature[T string | []byte](dst []byte, text T) ([]byte, bool) {
	dst = slices.Grow(dst, signatureRoom)
	room := dst[len(dst) : len(dst)+signatureRoom]
	length, n := decodeText(room, text)
	if n < len(text) || cutDER(room[:length]) {
		unbroken := dropLineBreaks(text)
		if len(unbroken) < len(text) {
			length, n = decodeText(room, unbroken)
		}
		if n < len(unbroken) || cutDER(room[:length]) {
			if length = decodeURL(room, unbroken); length < 0 {
				return dst, false
			}
		}
	}
	if length > MaxSignature {
		return dst, false
	}
	return dst[:len(dst)+length], true
}

// decodeURL reads a text without line breaks as base64url, or as base64 that lacks its padding, into dst. It returns
// the number of bytes, -1 where the text is neither. '_' is a letter here, and beside it the letters of other alphabets
// are refused: no encoding has both. The text is overwritten.
func decodeURL(dst, text []byte) int {
	letters := bytes.TrimRight(text, "=")
	if padded := len(text) - len(letters); len(letters)%4 == 1 || padded > 0 && (padded > 2 || len(text)%4 != 0) {
		return -1
	}
	underscores, others := false, false
	for i, c := range letters {
		switch c {
		case '_':
			underscores, letters[i] = true, '~'
		case '+', '/', '~':
			others = true
		}
	}
	if underscores && others {
		return -1
	}
	whole := append(letters, "=="[:-len(letters)&3]...)
	length, n := decodeText(dst, whole)
	if n < len(whole) {
		return -1
	}
	return length
}

// cutDER reports whether sig is an ECDSA signature in DER without its last one or two bytes: what comes out where the
// last letters of base64url, '_' or "__", are taken for padding. Such a signature can't be valid. An RSA signature is
// longer than any of ECDSA.
func cutDER(sig []byte) bool {
	const longest = 141 // on P-521, with the three bytes of the header
	if len(sig) < 8 || len(sig) > longest || sig[0] != 0x30 {
		return false
	}
	whole := 2 + int(sig[1])
	if sig[1] == 0x81 {
		whole = 3 + int(sig[2])
	}
	return whole == len(sig)+1 || whole == len(sig)+2
}

// dropLineBreaks returns a copy without line breaks.
func dropLineBreaks[T string | []byte](text T) []byte {
	b := append(make([]byte, 0, len(text)+2), text...) // decodeURL adds padding
	if bytes.IndexByte(b, '\n') < 0 && bytes.IndexByte(b, '\r') < 0 {
		return b
	}
	return slices.DeleteFunc(b, func(c byte) bool { return c == '\r' || c == '\n' })
}

// base64Tables holds, for each of the four letters of a group, its six bits where they belong in
// the group's 24, or base64Invalid.
var base64Tables = makeBase64Tables()

const base64Invalid = 1 << 31

func makeBase64Tables() (t [4][256]uint32) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for place := range t {
		for i := range t[place] {
			t[place][i] = base64Invalid
		}
		shift := 18 - 6*place
		for value := range len(letters) {
			t[place][letters[value]] = uint32(value) << shift
		}
		t[place]['-'], t[place]['~'] = t[place]['+'], t[place]['/']
	}
	return t
}

// groupSlack is how many bytes after the decoded ones decodeText may overwrite.
const groupSlack = 16

// decodeText decodes whole groups of four letters from the start of text into dst, as long as both
// last, and one padded group if that comes next. It returns how many bytes it wrote and how many
// letters it read; it stops at whatever does not belong there, and leaves it to the caller what that means. It
// leaves at least groupSlack-8 bytes of dst unused.
func decodeText[T string | []byte](dst []byte, text T) (written, read int) {
	t0, t1, t2, t3 := &base64Tables[0], &base64Tables[1], &base64Tables[2], &base64Tables[3]
	i, j := 0, 0
	for s, d := text, dst; len(s) >= 8 && len(d) >= groupSlack; s, d = s[8:], d[6:] {
		a := t0[s[0]] | t1[s[1]] | t2[s[2]] | t3[s[3]]
		b := t0[s[4]] | t1[s[5]] | t2[s[6]] | t3[s[7]]
		if (a|b)&base64Invalid != 0 {
			break
		}
		binary.BigEndian.PutUint64(d, uint64(a)<<40|uint64(b)<<16)
		i, j = i+8, j+6
	}
	for len(text)-i >= 4 && len(dst)-j >= 4 {
		s := text[i : i+4]
		a := t0[s[0]] | t1[s[1]] | t2[s[2]] | t3[s[3]]
		if a&base64Invalid != 0 {
			n := paddedGroup(dst[j:], s[0], s[1], s[2], s[3])
			if n == 0 {
				break
			}
			return j + n, i + 4
		}
		binary.BigEndian.PutUint32(dst[j:], a<<8)
		i, j = i+4, j+3
	}
	return j, i
}

// paddedGroup decodes the one or two bytes of a group that ends in padding. It returns how many, 0
// when the group is none.
func paddedGroup(dst []byte, c0, c1, c2, c3 byte) int {
	t := &base64Tables
	bits := t[0][c0] | t[1][c1]
	if bits&base64Invalid != 0 || !isPadding(c3) {
		return 0
	}
	dst[0] = byte(bits >> 16)
	if isPadding(c2) {
		return 1
	}
	if bits |= t[2][c2]; bits&base64Invalid != 0 {
		return 0
	}
	dst[1] = byte(bits >> 8)
	return 2
}

func isPadding(c byte) bool { return c == '=' || c == '_' }
