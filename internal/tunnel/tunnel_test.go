package tunnel

import (
	"strings"
	"testing"
)

// How proxies answer, and that connections go through them, is tested where they are used: in pipeline/certs.

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"http://proxy.corp:3128": "proxy.corp:3128", "proxy.corp:3128": "proxy.corp:3128", "http://proxy.corp/": "proxy.corp:80",
		"https://u:p@proxy.corp": "proxy.corp:443", "socks5://[::1]": "[::1]:1080", "socks5h://p:9": "p:9",
	} {
		u, err := Parse(text)
		if p := (&Proxy{URL: u}); err != nil || p.Address() != want {
			t.Errorf("%s is at %s, want %s", text, p.Address(), want)
		}
	}
	for _, bad := range []string{"", "socks4://secret@p:1", "ftp://p", "http://", "http://secret@:3128", "http://p/path", "http://p?secret", "http://u:se%cret@p"} {
		if _, err := Parse(bad); err == nil || !strings.Contains(err.Error(), "http://host:port") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want an error with an example and without secrets", bad, err)
		}
	}
}
