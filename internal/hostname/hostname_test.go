package hostname

import (
	"errors"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	label := strings.Repeat("a", 63)
	longest := strings.Join([]string{label, label, label, label[:61]}, ".")
	for _, name := range []string{
		"example.com", "localhost", "a-b.c1", "1password.com", "xn--bcher-kva.example", "127.0.0.a", "0x7g", "1.0xg", "0xa.example", longest,
	} {
		if err := Check(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", ".", "..", "a..b", ".example", "example.", "../x", "a/b", `a\b`, "a b", "EXAMPLE.com", "exämple.com", "a_b.example",
		"-a.example", "a-.example", "::1", "[::1]", "example.com:443", "a\x00b", "a%2e", "*.example", label + "a.example",
	} {
		if err := Check(name); err == nil || errors.Is(err, ErrTooLong) || errors.Is(err, ErrAddress) {
			t.Errorf("%q: %v, want an error about a label", name, err)
		}
	}
	for _, name := range []string{"127.0.0.1", "1.2.3", "2130706433", "0x7f.1", "0x7f000001", "127.0x1", "1.0x"} {
		if err := Check(name); !errors.Is(err, ErrAddress) {
			t.Errorf("%q: %v, want ErrAddress", name, err)
		}
	}
	if err := Check(longest + "a"); !errors.Is(err, ErrTooLong) {
		t.Errorf("a name of %d bytes: %v, want ErrTooLong", len(longest)+1, err)
	}
}

func TestDomain(t *testing.T) {
	for name, want := range map[string]string{
		"example.com": "example.com", "www.example.com": "example.com", "a.b.c.example.co.uk": "example.co.uk",
		"x.alice.github.io": "alice.github.io",
		"localhost":         "localhost", "com": "com", "github.io": "github.io", "a.b.site.example": "site.example", "": "", "..": "..",
	} {
		if got := Domain(name); got != want {
			t.Errorf("the domain of %q is %q, want %q", name, got, want)
		}
	}
}

func TestDomainsOfSites(t *testing.T) {
	for site, want := range map[string]string{
		"example.com":          "example.com",
		"www.example.com":      "example.com",
		"a.b.example.co.uk":    "example.co.uk",
		"user.github.io":       "user.github.io",
		"x.user.github.io":     "user.github.io",
		"co.uk":                "co.uk",
		"localhost":            "localhost",
		"a.bank.example":       "bank.example",
		"xn--bcher-kva.de":     "xn--bcher-kva.de",
		"www.xn--bcher-kva.de": "xn--bcher-kva.de",
	} {
		if got := Domain(site); got != want {
			t.Errorf("%s is of %s, want %s", site, got, want)
		}
	}
}

func BenchmarkDomain(b *testing.B) {
	for b.Loop() {
		_ = Domain("downloads.example.co.uk")
	}
}
