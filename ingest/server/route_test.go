package server

import (
	"net/http"
	"testing"

	"countersign/ingest/problem"
)

// Parameters are decoded one by one, so an encoded slash moves no border.
func TestRoutes(t *testing.T) {
	serve := func(*Exchange) *problem.Problem { return nil }
	all := newRoutes([]Call{
		{Method: http.MethodGet, Pattern: "/", Safe: true, Serve: serve},
		{Method: http.MethodGet, Pattern: "/a/:x", Serve: serve},
		{Method: http.MethodPost, Pattern: "/a/:x", Serve: serve},
		{Method: http.MethodGet, Pattern: "/a/:x/:y", Safe: true, Serve: serve},
	})
	for _, c := range []struct {
		method, path string
		pattern      string // empty: none
		args         [2]string
		allow, kind  string
	}{
		{"GET", "/", "/", [2]string{}, "GET, HEAD, OPTIONS", ""},
		{"HEAD", "/", "/", [2]string{}, "GET, HEAD, OPTIONS", ""},
		{"HEAD", "/a/b", "", [2]string{}, "GET, OPTIONS, POST", "method-not-allowed"},
		{"POST", "/a/b%2Fc", "/a/:x", [2]string{"b/c"}, "GET, OPTIONS, POST", ""},
		{"GET", "/a/%2e%2e/%41", "/a/:x/:y", [2]string{"..", "A"}, "GET, HEAD, OPTIONS", ""},
		{"GET", "/a/%zz", "", [2]string{}, "GET, OPTIONS, POST", "malformed-request"},
		{"OPTIONS", "/a/b", "", [2]string{}, "GET, OPTIONS, POST", ""},
		{"OPTIONS", "*", "", [2]string{}, "GET, HEAD, OPTIONS, POST", ""},
		{"GET", "*", "", [2]string{}, "", "not-found"},
		{"GET", "/a", "", [2]string{}, "", "not-found"},
		{"GET", "/a/", "", [2]string{}, "", "not-found"},
		{"GET", "/a//b", "", [2]string{}, "", "not-found"},
		{"GET", "/a/b/c/d", "", [2]string{}, "", "not-found"},
		{"GET", "", "", [2]string{}, "", "not-found"},
	} {
		call, args, allow, p := all.match(c.method, []byte(c.path))
		var pattern, kind string
		if call != nil {
			pattern = call.Pattern
		}
		if p != nil {
			kind = p.Kind
		}
		if pattern != c.pattern || call != nil && args != c.args || allow != c.allow || kind != c.kind {
			t.Errorf("%s %s: %q %q, allow %q, problem %q", c.method, c.path, pattern, args, allow, kind)
		}
	}
}

// FuzzRoutes holds routes to never panicking, and to one answer: a call, or a problem, or what OPTIONS gets.
func FuzzRoutes(f *testing.F) {
	all := newRoutes([]Call{
		{Method: http.MethodGet, Pattern: "/", Safe: true}, {Method: http.MethodGet, Pattern: "/a/:x"},
		{Method: http.MethodPost, Pattern: "/a/:x/:y"}, {Method: http.MethodGet, Pattern: "/static/page.js", Safe: true},
	})
	f.Add("GET", "/a/b%2Fc")
	f.Add("OPTIONS", "*")
	f.Add("POST", "/a/%zz/%41")
	f.Fuzz(func(t *testing.T, method, path string) {
		call, _, allow, p := all.match(method, []byte(path))
		if call != nil && p != nil || call == nil && p == nil && (method != http.MethodOptions || allow == "") {
			t.Errorf("%q %q: %v, %v, %q", method, path, call, p, allow)
		}
	})
}
