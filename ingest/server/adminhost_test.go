package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// admin is a listener of the operator's on loopback.
func admin(t *testing.T, c AdminConfig) (address string) {
	t.Helper()
	c.NotReady, c.Metrics = func() []string { return nil }, prometheus.NewRegistry()
	s := httptest.NewServer(AdminHandler(c))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// ask sends a GET with a Host of its own.
func ask(t *testing.T, address, host, path string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got.StatusCode, string(text)
}

func TestAdminAnswersItsOwnHostsOnly(t *testing.T) {
	address := admin(t, AdminConfig{Hosts: []string{"Metrics.Internal", "192.0.2.1", "2001:db8::1", "pod-7:9090", ":9090"}, Pprof: true})
	for _, host := range []string{
		address, "localhost", "LOCALHOST:9090", "localhost.", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:9090", "[::ffff:127.0.0.1]:9090",
		"metrics.internal", "METRICS.internal.:80", "192.0.2.1:9090", "[2001:db8:0::1]", "pod-7", "pod-7:1",
	} {
		if code, text := ask(t, address, host, "/readyz"); code != http.StatusOK {
			t.Errorf("%s gets %d %q", host, code, text)
		}
	}
	for _, host := range []string{
		"evil.example", "evil.example:9090", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.2", "[2001:db8::2]:9090",
		"metrics.internal.evil.example", "0.0.0.0", "2130706433", "0x7f.1", "x",
	} {
		for _, path := range []string{"/livez", "/readyz", "/metrics", "/debug/pprof/", "/nowhere"} {
			code, text := ask(t, address, host, path)
			if code != http.StatusMisdirectedRequest || !strings.Contains(text, "--admin-host") || !strings.Contains(text, `"`+host+`"`) {
				t.Errorf("%s of %s gets %d %q", path, host, code, text)
			}
		}
	}
}

// The address of the connection is allowed, whatever it is; another one isn't.
func TestAdminAnswersTheAddressOfTheConnection(t *testing.T) {
	local := func(address string) *http.Request {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, a)
		return httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	}
	for _, c := range []struct {
		local, host string
		want        bool
	}{
		{"10.1.2.3:9090", "10.1.2.3:9090", true}, {"10.1.2.3:9090", "10.1.2.3:30000", true}, {"10.1.2.3:9090", "10.1.2.4:9090", false},
		{"[::ffff:10.1.2.3]:9090", "10.1.2.3", true}, {"[2001:db8::1]:9090", "[2001:DB8::1]:9090", true}, {"[fe80::1%lo]:9090", "[fe80::1]:9090", true},
		{"[2001:db8::1]:9090", "[2001:db8::2]", false},
	} {
		r := local(c.local)
		r.Host = c.host
		if got := hostAllowed(r, nil); got != c.want {
			t.Errorf("%s at %s: %t", c.host, c.local, got)
		}
	}
	none := httptest.NewRequest(http.MethodGet, "/", nil)
	if none.Host = ""; !hostAllowed(none, nil) {
		t.Error("a request of HTTP/1.0 without a Host is refused")
	}
}

func TestProfilesAreSwitchedOn(t *testing.T) {
	on, off := admin(t, AdminConfig{Pprof: true}), admin(t, AdminConfig{})
	if code, text := ask(t, on, on, "/debug/pprof/"); code != http.StatusOK || !strings.Contains(text, "goroutine") {
		t.Errorf("switched on: %d %q", code, text)
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/profile", "/debug/pprof/heap", "/debug/pprof/trace"} {
		if code, text := ask(t, off, off, path); code != http.StatusNotFound || !strings.Contains(text, "--pprof") {
			t.Errorf("%s switched off: %d %q", path, code, text)
		}
	}
	for _, address := range []string{on, off} {
		if code, text := ask(t, address, address, "/debug/pprof/cmdline"); code != http.StatusNotFound {
			t.Errorf("the command line is shown: %d %q", code, text)
		}
	}
}
