package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// A service that only a proxy leads out of verifies by the certificates of sites, with nothing set but HTTPS_PROXY.
func TestSitesAreAskedThroughTheProxyOfTheEnvironment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site := w.site("proxied.example", p256)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var working sync.WaitGroup
	working.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			working.Go(func() {
				request, err := http.ReadRequest(bufio.NewReader(client))
				if err != nil || request.Method != http.MethodConnect || request.Host != site.Name+":443" {
					_ = client.Close()
					return
				}
				_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
				pipe(client, strings.TrimPrefix(w.hosts[0], site.Name+"="))
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		working.Wait()
	})
	env := []string{"HTTPS_PROXY=http://user:secret@" + listener.Addr().String(), "NO_PROXY=other.example"}
	n := startWith(t, env, append([]string{"--cert-roots", w.roots, "--data-dir", t.TempDir()}, logArgs(t)...)...)
	defer n.stop()
	entries := good("proxied", 10, site.SignTextECDSA)
	n.expect(n.upload(site.Name, entries), entries)
	n.says("sites are asked through a proxy")
	if strings.Contains(n.logs.String(), "secret") {
		t.Error("the log has the proxy's password")
	}
}

// A start that is pointed at something else than ClickHouse ends long before its minute, and says what is there.
func TestAWrongPortEndsTheStart(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	address := web.Listener.Addr().String()
	out, err := output("serve", "--clickhouse", "clickhouse://"+address, "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	if err == nil || !strings.Contains(out, address+": expected ClickHouse's native protocol without TLS, and found a web server (HTTP)") ||
		!strings.Contains(out, "waiting for what the start needs") {
		t.Errorf("%v: %s", err, out)
	}
	out, err = output("query", "--clickhouse", "clickhouse://"+address, "SELECT 1")
	if err == nil || !strings.Contains(out, "found a web server (HTTP)") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestTheProxyOfLooksComesFromTheFlagOrTheEnvironment(t *testing.T) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"} {
		t.Setenv(name, "")
	}
	for _, c := range []struct {
		name, flag string
		env        map[string]string
		host, from string // of the proxy; empty: none
		direct     string // a site that is asked directly all the same
	}{
		{name: "none"},
		{name: "flag", flag: "http://u:p@flag.corp:3128", env: map[string]string{"HTTPS_PROXY": "http://env.corp"}, host: "flag.corp:3128", from: "--cert-proxy"},
		{name: "flag with NO_PROXY", flag: "flag.corp:1", env: map[string]string{"NO_PROXY": "example.org"}, host: "flag.corp:1", from: "--cert-proxy", direct: "www.example.org"},
		{name: "HTTPS_PROXY", env: map[string]string{"HTTPS_PROXY": "http://env.corp:1", "no_proxy": ".example.org"}, host: "env.corp:1", from: "HTTPS_PROXY", direct: "www.example.org"},
		{name: "https_proxy without a scheme", env: map[string]string{"https_proxy": "env.corp:1"}, host: "env.corp:1", from: "HTTPS_PROXY"},
		{name: "ALL_PROXY", env: map[string]string{"ALL_PROXY": "socks5://env.corp:1"}, host: "env.corp:1", from: "ALL_PROXY"},
		{name: "HTTP_PROXY is for other things", env: map[string]string{"HTTP_PROXY": "http://env.corp:1"}},
		{name: "direct", flag: "direct", env: map[string]string{"HTTPS_PROXY": "http://env.corp:1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := loadFrom(t, []string{"--cert-proxy", c.flag}, c.env, "")
			must(t, err)
			proxy, from, err := cfg.certProxy()
			must(t, err)
			if from != c.from || (proxy == nil) != (c.host == "") || proxy != nil && proxy.URL.Host != c.host {
				t.Fatalf("%+v from %q, want %q from %q", proxy, from, c.host, c.from)
			}
			if proxy == nil {
				return
			}
			if proxy.Except("bank.example") || c.direct != "" && !proxy.Except(c.direct) || proxy.LookUpHere {
				t.Errorf("except bank.example %t, %q %t; looked up here %t", proxy.Except("bank.example"), c.direct, proxy.Except(c.direct), proxy.LookUpHere)
			}
		})
	}
	for _, c := range []struct{ name, value, want string }{
		{"HTTPS_PROXY", "socks4://user:secret@env.corp:1", "--cert-proxy direct"},
		{"COUNTERSIGN_CERT_PROXY", "ftp://user:secret@flag.corp", "--cert-proxy: there are no proxies with"},
		{"COUNTERSIGN_CERT_PROXY_DNS", "nobody", "there are proxy and here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := loadFrom(t, nil, map[string]string{c.name: c.value}, ""); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v, want an error that has %q and no password", err, c.want)
			}
		})
	}
}
