package record

// Site names. A site is named as in its certificate: a DNS host name (RFC 1123, section 2.1), internationalised names in
// their ASCII form (RFC 5891), lower case, without the root's dot. One site has one name here, whichever way it was typed.

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const maxSite = 253 // octets of a host name in text form (RFC 1035, section 2.3.4, less the length octets)

// ParseSite returns the canonical form of a site's name. The error is a sentence for whoever sent it.
func ParseSite(s string) (string, error) {
	if s == "" {
		return "", errors.New("the site's name is empty: give the host name of its certificate, like example.com")
	}
	if len(s) > 4*maxSite { // no UTF-8 form of a valid name is longer; don't run IDNA over megabytes
		return "", fmt.Errorf("the site's name has %d bytes, a host name has at most %d", len(s), maxSite)
	}
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%q is not a host name: it is not UTF-8", s)
	}
	if strings.ContainsAny(s, ":/[]@") {
		return "", fmt.Errorf("%q is not a host name: leave out scheme, port, user and path", s)
	}
	ascii := strings.TrimSuffix(s, ".")
	if !isPlain(ascii) {
		var err error
		if ascii, err = profile().ToASCII(ascii); err != nil {
			return "", fmt.Errorf("%q is not a host name: %w", s, err)
		}
	}
	if len(ascii) > maxSite {
		return "", fmt.Errorf("the site's name has %d bytes, a host name has at most %d", len(ascii), maxSite)
	}
	labels := strings.Split(ascii, ".")
	for _, label := range labels {
		if err := checkLabel(label); err != nil {
			return "", fmt.Errorf("%q is not a host name: %w", s, err)
		}
	}
	if isNumber(labels[len(labels)-1]) {
		return "", fmt.Errorf("%q is an address: certificates are looked up by host name", s)
	}
	return ascii, nil
}

// isPlain reports whether IDNA has nothing to say about a name: every record is checked, and nearly all names are plain.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.') {
			return false
		}
	}
	return !strings.Contains(s, "xn--")
}

// profile maps case and width as browsers do (UTS #46) and refuses what DNS does not take.
func profile() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(true), idna.BidiRule(), idna.VerifyDNSLength(true))
}

func checkLabel(label string) error {
	if label == "" || len(label) > 63 {
		return fmt.Errorf("a label has 1 to 63 characters, not %d", len(label))
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

// isNumber tells labels that make a name an IPv4 address for some resolver (URL Standard, "ends in a number checker").
func isNumber(label string) bool {
	if strings.HasPrefix(label, "0x") {
		return strings.Trim(label[2:], "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}
