package server

// What pages of other origins may read, and what is below a reverse proxy's path.

import (
	"encoding/json"
	"testing"
)

func TestOtherOriginsMayReadWhatChangesNothing(t *testing.T) {
	h := start(t, nil)
	for _, c := range []struct {
		method, path string
		open         bool
	}{
		{"GET", "/things/a/b", true},
		{"HEAD", "/things/a/b", true},
		{"OPTIONS", "/things/a/b", true},
		{"GET", "/refuses", true}, // and the page may read why
		{"POST", "/things/a/b", false},
		{"OPTIONS", "/bodies/a", false},
		{"POST", "/bodies/a", false},
		{"GET", "/bodies/a", false},
		{"OPTIONS", "/changes", false}, // it has a GET, which is not safe
		{"GET", "/changes", false},
		{"GET", "/nothing", false},
	} {
		r := h.Do(c.method, c.path, nil, "Origin", "https://downloads.example")
		fields := map[string]string{
			"Access-Control-Allow-Origin":      "*",
			"Access-Control-Expose-Headers":    "Content-Disposition, RateLimit, RateLimit-Policy, Retry-After",
			"Access-Control-Allow-Methods":     "GET, HEAD",
			"Access-Control-Allow-Headers":     "*",
			"Access-Control-Max-Age":           "86400",
			"Access-Control-Allow-Credentials": "",
		}
		for name, want := range fields {
			preflight := name != "Access-Control-Allow-Origin" && name != "Access-Control-Expose-Headers"
			if !c.open || preflight && c.method != "OPTIONS" {
				want = ""
			}
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s %s: %s is %q, want %q", c.method, c.path, name, got, want)
			}
		}
	}
}

// A proxy may pass its prefix on or not, and a prefix may look like a path of the API.
func TestPathOfThePublicURL(t *testing.T) {
	for _, c := range []struct {
		public, path string
		status       int
		kind         string // type of the problem
	}{
		{"", "/things/a/b", 200, ""},
		{"", "/deep/er/things/a/b", 404, "/problems/not-found"},
		{"https://example.org", "/nothing", 404, "/problems/not-found"},
		{"https://example.org/", "/nothing", 404, "/problems/not-found"},
		{"https://example.org/deep/er/", "/deep/er/things/a/b", 200, ""},
		{"https://example.org/deep/er", "/things/a/b", 200, ""},
		{"https://example.org/deep/er", "/deep/er/nothing", 404, "/deep/er/problems/not-found"},
		{"https://example.org/deep/er", "/deep/erthings/a/b", 404, "/deep/er/problems/not-found"},
		{"https://example.org/things", "/things/a/b", 200, ""},
		{"https://example.org/things", "/things/things/a/b", 200, ""},
		{"https://example.org/t%C3%A4st", "/t%C3%A4st/things/a/b", 200, ""},
	} {
		h := start(t, func(cfg *Config) { cfg.PublicURL = c.public })
		r := h.Do("GET", c.path, nil)
		if r.Status != c.status || c.kind != "" && typeOf(t, r.Body) != c.kind {
			t.Errorf("%q, %s: %d %s", c.public, c.path, r.Status, r.Body)
		}
	}
	for _, bad := range []string{"example.org", "/countersign", "ftp://example.org", "https://", "https://example.org/?a=b", "https://a@b"} {
		if _, err := New(Config{PublicURL: bad}, nil); err == nil {
			t.Errorf("%q is taken for an address", bad)
		}
	}
}

func typeOf(t *testing.T, body string) string {
	t.Helper()
	var p struct{ Type string }
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Error(err)
	}
	return p.Type
}
