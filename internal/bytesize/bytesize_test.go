package bytesize

import (
	"strings"
	"testing"
)

func TestASizeHasAUnit(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1B": 1, "512MiB": 512 << 20, "512 MiB": 512 << 20, "64k": 64 << 10, "1MB": 1 << 20, "1.5GiB": 3 << 29, "2tib": 2 << 40,
	} {
		var s Size
		if err := s.Set(text); err != nil || s != want {
			t.Errorf("%q is %d, %v; want %d", text, s, err, want)
		}
	}
	for _, text := range []string{"", "512", "1e9", "-1MiB", "1_000MiB", "0x10MiB", "MiB", "1.MiB", "1,5GiB", "many", "1 XiB", "99999999TiB"} {
		s := Size(7)
		if err := s.Set(text); err == nil || s != 7 || !strings.Contains(err.Error(), "512MiB") {
			t.Errorf("%q is %d, %v", text, s, err)
		}
	}
}
