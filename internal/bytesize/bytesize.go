package bytesize

import (
	"fmt"

	"github.com/docker/go-units"
)

// Size is a number of bytes, at least 0. A *Size is a flag of github.com/spf13/pflag, and reads texts of files and
// environments.
type Size int64

// String is the size with the largest binary unit that it has one of, in four digits.
func (s Size) String() string {
	return units.CustomSize("%.4g%s", float64(s), 1024, []string{"B", "KiB", "MiB", "GiB", "TiB"})
}

// Type is how a flag's help names the value.
func (s *Size) Type() string { return "size" }

// Set reads a text. The error says what is expected instead.
func (s *Size) Set(text string) error {
	n, err := units.RAMInBytes(text)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is no size: write a number with B, KiB, MiB or GiB", text)
	}
	*s = Size(n)
	return nil
}

// UnmarshalText is Set for texts that don't come from a flag.
func (s *Size) UnmarshalText(text []byte) error { return s.Set(string(text)) }
