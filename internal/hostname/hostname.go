package hostname

// A host name is a list of labels between dots, and each label is checked alone.

import (
	"errors"
	"fmt"
	"strings"
)

// MaxLength is the longest host name in text form, in bytes (RFC 1035, section 2.3.4, less the octets that count the
// labels).
const MaxLength = 253

// maxLabel is the longest part between two dots, in bytes (RFC 1035, section 2.3.4).
const maxLabel = 63

var (
	// ErrTooLong is returned for names of more than MaxLength bytes.
	ErrTooLong = fmt.Errorf("it has more than %d bytes", MaxLength)
	// ErrAddress is returned for names that a resolver may read as an IPv4 address.
	ErrAddress = errors.New("it is an address")
)

// Check reports whether name is a DNS host name (RFC 1123, section 2.1) in its canonical form: lower case,
// internationalised names in their ASCII form, without the dot of the root at the end. The error is [ErrTooLong],
// [ErrAddress], or says what is wrong with a label.
func Check(name string) error {
	if len(name) > MaxLength {
		return ErrTooLong
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if err := checkLabel(label); err != nil {
			return err
		}
	}
	if isNumber(labels[len(labels)-1]) {
		return ErrAddress
	}
	return nil
}

func checkLabel(label string) error {
	if label == "" || len(label) > maxLabel {
		return fmt.Errorf("a label has 1 to %d characters, not %d", maxLabel, len(label))
	}
	if label[0] == '-' || label[len(label)-1] == '-' {
		return errors.New("a label can't begin or end with a hyphen")
	}
	for _, c := range []byte(label) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return fmt.Errorf("%q is no character of a host name", c)
		}
	}
	return nil
}

// isNumber reports whether a last label makes the whole name an IPv4 address for some resolver: decimal digits, or 0x
// and hexadecimal ones (URL Standard, "ends in a number checker").
func isNumber(label string) bool {
	if strings.HasPrefix(label, "0x") {
		return strings.Trim(label[2:], "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}
