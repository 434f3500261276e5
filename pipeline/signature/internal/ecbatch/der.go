package ecbatch

import "encoding/binary"

// Decoding of ECDSA-Sig-Value (RFC 3279 section 2.2.3) in DER, as strict as crypto/ecdsa: minimal lengths, minimal
// non-negative integers, nothing left over.

// parse splits a signature into the big-endian magnitudes of r and s, without leading zeros, and tells whether it is
// well formed. The results alias der.
//
// Lengths of 128 and above are refused unseen: two integers below the order of P-384 need at most 102 bytes, so a
// longer signature is either not minimal or holds a value that is out of range.
func parse(der []byte) (r, s []byte, ok bool) {
	if len(der) < 2 || der[0] != 0x30 || der[1] >= 128 || int(der[1]) != len(der)-2 {
		return nil, nil, false
	}
	r, rest, ok := parseInteger(der[2:])
	if !ok {
		return nil, nil, false
	}
	s, rest, ok = parseInteger(rest)
	return r, s, ok && len(rest) == 0
}

// parseInteger takes one non-negative INTEGER off the front of der.
func parseInteger(der []byte) (magnitude, rest []byte, ok bool) {
	if len(der) < 3 || der[0] != 0x02 || der[1] >= 128 || int(der[1]) > len(der)-2 {
		return nil, nil, false
	}
	magnitude, rest = der[2:2+int(der[1])], der[2+int(der[1]):]
	switch {
	case len(magnitude) == 0 || magnitude[0] >= 128:
		return nil, nil, false
	case magnitude[0] != 0:
		return magnitude, rest, true
	case len(magnitude) > 1 && magnitude[1] < 128:
		return nil, nil, false
	}
	return magnitude[1:], rest, true
}

// setBytes sets words, least significant first, to a big-endian number, and tells whether it fits.
func setBytes(words []uint64, number []byte) bool {
	if len(number) > 8*len(words) {
		return false
	}
	for i := range words {
		if len(number) >= 8 {
			words[i] = binary.BigEndian.Uint64(number[len(number)-8:])
			number = number[:len(number)-8]
			continue
		}
		words[i] = 0
		for _, b := range number {
			words[i] = words[i]<<8 | uint64(b)
		}
		number = nil
	}
	return true
}
