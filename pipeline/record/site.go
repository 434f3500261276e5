package record

// Site names. A site is named as in its certificate: by a DNS host name in the canonical form that package hostname
// defines. Users type names in other forms: in upper case, with a dot at the end, or in the letters of their language
// (RFC 5891). ParseSite turns all of them into the one canonical form, so that a site has one name in every record.

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"countersign/internal/hostname"
)

// ParseSite returns the canonical form of a site's name. The error is a sentence for the user who sent the name.
func ParseSite(s string) (string, error) {
	if s == "" {
		return "", errors.New("the site's name is empty: give the host name of its certificate, like example.com")
	}
	if len(s) > 4*hostname.MaxLength { // no UTF-8 form of a valid name is longer; don't run IDNA over megabytes
		return "", tooLong(s)
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
	switch err := hostname.Check(ascii); {
	case errors.Is(err, hostname.ErrTooLong):
		return "", tooLong(ascii)
	case errors.Is(err, hostname.ErrAddress):
		return "", fmt.Errorf("%q is an address: certificates are looked up by host name", s)
	case err != nil:
		return "", fmt.Errorf("%q is not a host name: %w", s, err)
	}
	return ascii, nil
}

func tooLong(name string) error {
	return fmt.Errorf("the site's name has %d bytes, a host name has at most %d", len(name), hostname.MaxLength)
}

// isPlain reports whether IDNA (RFC 5891) leaves a name as it is. Nearly all names are plain, and every record's name
// is checked, so IDNA's tables are asked only about the others.
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
	return idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(true), idna.BidiRule(),
		idna.VerifyDNSLength(true))
}
