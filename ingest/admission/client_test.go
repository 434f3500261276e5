package admission

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func addr(t testing.TB, text string) netip.Addr {
	t.Helper()
	a, err := netip.ParseAddr(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestClientIsAnAddressOrA64(t *testing.T) {
	for _, c := range []struct{ address, client string }{
		{"192.0.2.7", "192.0.2.7"},
		{"::ffff:192.0.2.7", "192.0.2.7"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"2001:db8:1:2::9", "2001:db8:1:2::/64"},
		{"fe80::1%eth0", "fe80::/64"},
		{"::1", "::/64"},
	} {
		if got := ClientOf(addr(t, c.address)); got.String() != c.client || !got.IsValid() {
			t.Errorf("%s is client %s, want %s", c.address, got, c.client)
		}
	}
	if unknown := ClientOf(netip.Addr{}); unknown != (Client{}) || unknown.IsValid() || unknown.String() != "unknown" {
		t.Errorf("no address is client %s", unknown)
	}
}

func TestTokenTellsClientsApart(t *testing.T) {
	a, _ := ClientOf(addr(t, "2001:db8:1:2:3:4:5:6")).Token()
	same, _ := ClientOf(addr(t, "2001:db8:1:2::1")).Token()
	other, _ := ClientOf(addr(t, "2001:db8:1:3::1")).Token()
	if a != same || a == other {
		t.Errorf("tokens %x, %x, %x", a, same, other)
	}
	// Another version of this program on the same log must give the same token.
	if four, ok := ClientOf(addr(t, "192.0.2.7")).Token(); !ok || four != [8]byte{0xc5, 0x8a, 0xf3, 0x86, 0xb7, 0xc3, 0x7e, 0x09} {
		t.Errorf("192.0.2.7 has token %x", four)
	}
	if _, ok := (Client{}).Token(); ok {
		t.Error("an unknown client has a token")
	}
}

func TestProxiesAreParsed(t *testing.T) {
	p, err := ParseProxies(" 10.0.0.0/8,192.0.2.7 , ::ffff:198.51.100.0/120,2001:db8::/32,,")
	if err != nil || len(p) != 4 {
		t.Fatalf("%v, %v", p, err)
	}
	for text, want := range map[string]bool{
		"10.255.0.1": true, "192.0.2.7": true, "::ffff:192.0.2.7": true, "198.51.100.9": true, "2001:db8::5": true,
		"192.0.2.8": false, "198.51.101.1": false, "2001:db9::": false,
	} {
		if p.Trust(addr(t, text)) != want {
			t.Errorf("trust in %s is not %t", text, want)
		}
	}
	_, err = ParseProxies("10.0.0.0/33,example.com,::ffff:0:0/90")
	for _, part := range []string{"10.0.0.0/33", "example.com", "::ffff:0:0/90"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v doesn't tell of %s", err, part)
		}
	}
	if p, err := ParseProxies(""); p != nil || err != nil {
		t.Errorf("%v, %v", p, err)
	}
}

// The proxies of these tests: two of them, one behind the other.
var testProxies = Proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:ffff::/48")}

func TestClientBehindProxies(t *testing.T) {
	lines := func(l ...string) []string { return l }
	for _, c := range []struct {
		name, remote       string
		xForwardedFor, fwd []string
		client             string
	}{
		{"no proxy", "192.0.2.1", nil, nil, "192.0.2.1"},
		{"no proxy, forged", "192.0.2.1", lines("198.51.100.1"), lines("for=198.51.100.1"), "192.0.2.1"},
		{"proxy that says nothing", "10.0.0.1", nil, nil, "10.0.0.1"},
		{"X-Forwarded-For", "10.0.0.1", lines("192.0.2.1"), nil, "192.0.2.1"},
		{"two proxies", "10.0.0.1", lines("192.0.2.1, 10.0.0.2"), nil, "192.0.2.1"},
		{"two lines", "10.0.0.1", lines("192.0.2.1", "10.0.0.2"), nil, "192.0.2.1"},
		{"forged left part", "10.0.0.1", lines("203.0.113.9,, 192.0.2.1 ,10.0.0.2"), nil, "192.0.2.1"},
		{"proxies only", "10.0.0.1", lines("10.0.0.3,10.0.0.2"), nil, "10.0.0.3"},
		{"unreadable", "10.0.0.1", lines("192.0.2.1, unknown"), nil, "10.0.0.1"},
		{"unreadable behind a proxy", "10.0.0.1", lines("192.0.2.1, x, 10.0.0.2"), nil, "10.0.0.2"},
		{"with a port", "10.0.0.1", lines("192.0.2.1:4711"), nil, "192.0.2.1"},
		{"IPv6", "10.0.0.1", lines("2001:db8:1:2::9"), nil, "2001:db8:1:2::/64"},
		{"IPv6 with a port", "2001:db8:ffff::1", lines("[2001:db8:1:2::9]:4711"), nil, "2001:db8:1:2::/64"},
		{"mapped", "::ffff:10.0.0.1", lines("::ffff:192.0.2.1"), nil, "192.0.2.1"},
		{"with a zone", "10.0.0.1", lines("fe80::1%eth0"), nil, "10.0.0.1"},

		{"Forwarded", "10.0.0.1", nil, lines("for=192.0.2.1"), "192.0.2.1"},
		{"parameters", "10.0.0.1", nil, lines(`proto=http;For="192.0.2.1:4711";by=10.0.0.1`), "192.0.2.1"},
		{"quoted IPv6", "10.0.0.1", nil, lines(`for="[2001:db8:1:2::9]:4711", for=10.0.0.2`), "2001:db8:1:2::/64"},
		{"brackets", "10.0.0.1", nil, lines(`for="[2001:db8:1:2::9]"`), "2001:db8:1:2::/64"},
		{"unknown", "10.0.0.1", nil, lines("for=192.0.2.1, for=unknown"), "10.0.0.1"},
		{"obfuscated", "10.0.0.1", nil, lines("for=_hidden"), "10.0.0.1"},
		{"no for", "10.0.0.1", nil, lines("by=192.0.2.1"), "10.0.0.1"},
		{"two fors", "10.0.0.1", nil, lines("for=192.0.2.1;for=192.0.2.2"), "10.0.0.1"},
		{"separators in quotes", "10.0.0.1", nil, lines(`for=192.0.2.1;host="a,b;for=203.0.113.9"`), "192.0.2.1"},
		{"a quote left open by the client", "10.0.0.1", nil, lines(`for="203.0.113.9, for=192.0.2.1`), "192.0.2.1"},
		{"an escaped quote", "10.0.0.1", nil, lines(`host="\",for=203.0.113.9";for=192.0.2.1`), "192.0.2.1"},

		{"both agree", "10.0.0.1", lines("192.0.2.1"), lines("for=192.0.2.1"), "192.0.2.1"},
		{"one is forged", "10.0.0.1", lines("192.0.2.1"), lines("for=203.0.113.9"), "10.0.0.1"},
	} {
		if got := testProxies.ClientOf(addr(t, c.remote), Forwarding{c.xForwardedFor, c.fwd}); got.String() != c.client {
			t.Errorf("%s: client %s, want %s", c.name, got, c.client)
		}
	}
}

// Whatever a client sends, its client is the address that the trusted proxy appended.
func TestClientsCannotForgeTheirAddress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		forged := rapid.StringMatching(`[ ,;="\\a-z0-9.:\[\]]{0,40}`).Draw(t, "forged")
		for name, head := range map[string]Forwarding{
			"X-Forwarded-For":                {XForwardedFor: []string{forged + ", 192.0.2.1"}},
			"X-Forwarded-For, line appended": {XForwardedFor: []string{forged, "192.0.2.1"}},
			"Forwarded":                      {Forwarded: []string{forged + ", for=192.0.2.1"}},
			"Forwarded, line appended":       {Forwarded: []string{forged, "for=192.0.2.1"}},
		} {
			if got := testProxies.ClientOf(netip.MustParseAddr("10.0.0.1"), head); got.String() != "192.0.2.1" {
				t.Fatalf("%s: client %s", name, got)
			}
		}
	})
}

func FuzzForwarding(f *testing.F) {
	for _, seed := range []string{
		"", ",", "192.0.2.1", "192.0.2.1, 10.0.0.2", "[2001:db8::1]:80", "for=192.0.2.1;proto=http", `for="[2001:db8::1]:4711"`, `for="`, `\"`,
		"for=unknown, for=10.0.0.1", "10.0.0.1,10.0.0.2,x,10.0.0.3", "fe80::1%eth0", `a="\\\"";for=10.1.1.1,for=192.0.2.1`, "::ffff:10.0.0.9",
	} {
		f.Add(seed, seed, true)
		f.Add(seed, "", false)
	}
	remote := netip.MustParseAddr("10.0.0.1")
	f.Fuzz(func(t *testing.T, x, forwarded string, split bool) {
		head := Forwarding{XForwardedFor: []string{x}, Forwarded: []string{forwarded}}
		if split {
			head.XForwardedFor, head.Forwarded = strings.SplitAfter(x, ","), nil
		}
		got := testProxies.ClientOf(remote, head)
		if !got.IsValid() {
			t.Errorf("no client: %q, %q", x, forwarded)
		}
		if untrusted := netip.MustParseAddr("192.0.2.200"); testProxies.ClientOf(untrusted, head) != ClientOf(untrusted) {
			t.Error("an untrusted peer was believed")
		}
	})
}
