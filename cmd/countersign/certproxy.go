package main

// The proxy through which sites are asked: the flag, or the environment as every program reads it.

import (
	"cmp"
	"fmt"
	"net/url"
	"os"

	"golang.org/x/net/http/httpproxy"

	"countersign/internal/tunnel"
	"countersign/pipeline/certs"
)

const (
	proxyDirect = "direct" // of --cert-proxy: HTTPS_PROXY isn't for looks

	// Who looks names up, of --cert-proxy-dns.
	dnsByProxy = "proxy"
	dnsHere    = "here"
)

// certProxy is the proxy for looks at sites, nil for none, and the setting that it comes from. Its error is about that
// setting, and quotes no password.
func (c *config) certProxy() (_ *certs.Proxy, from string, _ error) {
	text, from := c.CertProxy, "--cert-proxy"
	environment := httpproxy.FromEnvironment()
	if text == "" {
		text, from = environment.HTTPSProxy, "HTTPS_PROXY"
	}
	if text == "" {
		text, from = cmp.Or(os.Getenv("all_proxy"), os.Getenv("ALL_PROXY")), "ALL_PROXY"
	}
	if text == "" || c.CertProxy == proxyDirect {
		return nil, "", nil
	}
	u, err := tunnel.Parse(text)
	if err != nil {
		hint := ""
		if from != "--cert-proxy" {
			hint = ", or set --cert-proxy direct to ask sites without it"
		}
		return nil, from, fmt.Errorf("%s: %w%s", from, err, hint)
	}
	proxyOf := (&httpproxy.Config{HTTPSProxy: u.String(), NoProxy: environment.NoProxy}).ProxyFunc()
	except := func(site string) bool {
		proxy, err := proxyOf(&url.URL{Scheme: "https", Host: site})
		return err == nil && proxy == nil
	}
	return &certs.Proxy{Proxy: tunnel.Proxy{URL: u}, LookUpHere: c.ProxyDNS == dnsHere, Except: except}, from, nil
}

// tellOfCertProxy says at the start that sites are asked through a proxy, and who looks their names up.
func (p *process) tellOfCertProxy(proxy *certs.Proxy, from string) {
	if proxy == nil {
		return
	}
	names := "looked up by the proxy, which must refuse to connect to private addresses"
	if proxy.LookUpHere {
		names = "looked up here; the proxy is asked for public addresses only"
	}
	p.log.Info("sites are asked through a proxy", "proxy", proxy.URL.Redacted(), "from", from, "names", names)
}
