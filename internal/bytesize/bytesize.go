package bytesize

import (
	"fmt"
	"regexp"

	"github.com/docker/go-units"
)

// Size is a number of bytes, at least 0. A *Size is a flag of github.com/spf13/pflag.
type Size int64

// String is the size with the largest binary unit that it has one of, in four digits.
func (s Size) String() string {
	return units.CustomSize("%.4g%s", float64(s), 1024, []string{"B", "KiB", "MiB", "GiB", "TiB"})
}

// Type is how a flag's help names the value.
func (s *Size) Type() string { return "size" }

// spelling is what Set takes. A number alone may be bytes to one person and MiB to another.
var spelling = regexp.MustCompile(`^(?i:[0-9]+(\.[0-9]+)? ?([kmgtp]i?b?|b)|0)$`)

// Set reads a number with a unit, or 0. Units are binary, however they are written: 1 MB is 1 MiB. The error says what
// is expected instead.
func (s *Size) Set(text string) error {
	n, err := units.RAMInBytes(text)
	if !spelling.MatchString(text) || err != nil || n < 0 {
		return fmt.Errorf("%q is no size: write a number with a unit, such as 512MiB (B, KiB, MiB, GiB)", text)
	}
	*s = Size(n)
	return nil
}
