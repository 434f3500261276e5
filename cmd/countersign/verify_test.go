package main

import (
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countersign/testsite"
)

// The command says what is wrong with a signature, by a file with the certificate or by what the site serves.
func TestVerifyExplains(t *testing.T) {
	const site = "bank.example"
	authority, err := testsite.NewCA(testsite.CAConfig{})
	must(t, err)
	bank, err := authority.NewSite(site, testsite.SiteConfig{Curve: elliptic.P256()})
	must(t, err)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	file, leaf := write("a\\file", "content"), write("leaf.der", string(bank.Chains()[0][0]))
	chain, err := bank.WriteChain(dir)
	must(t, err)
	roots := filepath.Join(dir, "roots.pem")
	must(t, authority.WriteRoots(roots))
	address, err := bank.Serve()
	must(t, err)
	defer bank.Close()
	served := verification{hosts: []string{site + "=" + address}, roots: roots, explain: true}
	hash := fmt.Sprintf("%x", sha256.Sum256([]byte("content")))
	sign := func(text string) string { return base64.RawURLEncoding.EncodeToString(bank.SignTextECDSA(text)) }
	for _, c := range []struct {
		name, subject, signature string
		v                        verification
		says, fails              string
	}{
		{"right", hash, sign(hash), verification{files: []string{leaf}}, "valid: bank.example signed " + hash, ""},
		{"right, of the file", file, sign(hash), verification{files: []string{chain}}, "valid: ", ""},
		{"a line feed", file, sign(hash + "\n"), verification{files: []string{chain}, explain: true}, "A line feed was signed along", "Invalid signature"},
		{"a line of sha256sum", file, sign(`\` + hash + "  " + strings.ReplaceAll(file, `\`, `\\`) + "\n"), verification{files: []string{chain}, explain: true}, "whole line of sha256sum", "Invalid signature"},
		{"what the site serves", hash, sign(hash), served, "valid: ", ""},
		{"what the site serves, and capital letters", file, sign(strings.ToUpper(hash)), served, "the other letter case", "Invalid signature"},
		{"not asked why", file, sign("x"), verification{files: []string{leaf}}, "", "Invalid signature; --explain says why"},
		{"no file", "nothing", sign(hash), verification{files: []string{leaf}}, "", `"nothing" is neither a file nor a hash`},
		{"no certificate", hash, sign(hash), verification{files: []string{file}}, "", "holds no certificate"},
		{"no site", hash, sign(hash), verification{hosts: []string{site + "=127.0.0.1:1"}}, "", "with --certificate FILE no site is asked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			c.v.site, c.v.signature = site, c.signature
			err := c.v.run(t.Context(), &out, c.subject)
			if !strings.Contains(out.String(), c.says) || (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%v: %s", err, out.String())
			}
		})
	}
}
