package certs

import (
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"countersign/testsite"
)

func TestDirGivesTheChainsOfItsFile(t *testing.T) {
	ca, dir := newCA(t), t.TempDir()
	site := newSite(t, ca, siteName, testsite.SiteConfig{Keys: []crypto.Signer{keyAt(t, elliptic.P256()), rsaKey()}})
	if _, err := site.WriteChain(dir); err != nil {
		t.Fatal(err)
	}
	source := Dir(dir, DirConfig{})
	chains, err := source(t.Context(), siteName)
	if err != nil {
		t.Fatal(err)
	}
	checkSame(t, chains, site)

	// A replaced file counts at the next call.
	if err := site.Rotate(testsite.SiteConfig{Curve: elliptic.P384()}); err != nil {
		t.Fatal(err)
	}
	if _, err := site.WriteChain(dir); err != nil {
		t.Fatal(err)
	}
	if chains, err = source(t.Context(), siteName); err != nil {
		t.Fatal(err)
	}
	checkSame(t, chains, site)
}

// checkSame checks that chains are those of site, in order.
func checkSame(t *testing.T, chains []Chain, site *testsite.Site) {
	t.Helper()
	want := site.Chains()
	if len(chains) != len(want) {
		t.Fatalf("%d chains, want %d", len(chains), len(want))
	}
	for i := range chains {
		if len(chains[i].Certificates) != len(want[i]) || chains[i].Fingerprint() != (Chain{want[i]}).Fingerprint() {
			t.Errorf("chain %d of %d certificates isn't the site's of %d", i, len(chains[i].Certificates), len(want[i]))
		}
	}
}

func TestDirChoosesAmongLeavesOfAKind(t *testing.T) {
	ca, dir := newCA(t), t.TempDir()
	now := time.Now()
	var text []byte
	write := func(config testsite.SiteConfig) *testsite.Site {
		site := newSite(t, ca, siteName, config)
		path, err := site.WriteChain(dir)
		if err != nil {
			t.Fatal(err)
		}
		more, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, more...)
		return site
	}
	write(testsite.SiteConfig{Curve: elliptic.P256(), NotBefore: now.Add(-3 * time.Hour), SelfSigned: true})
	newest := write(testsite.SiteConfig{Curve: elliptic.P256(), NotBefore: now.Add(-2 * time.Hour)})
	write(testsite.SiteConfig{Curve: elliptic.P256(), NotBefore: now.Add(time.Hour)})
	write(testsite.SiteConfig{Curve: elliptic.P256(), NotBefore: now.Add(-90 * time.Minute), NotAfter: now.Add(-time.Minute)})
	write(testsite.SiteConfig{Curve: elliptic.P256(), Names: []string{"other.example"}})
	text = append([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\nsome text\n"), text...)
	if err := os.WriteFile(filepath.Join(dir, siteName+".pem"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	chains, err := Dir(dir, DirConfig{Clock: func() time.Time { return now }})(t.Context(), siteName)
	if err != nil {
		t.Fatal(err)
	}
	checkSame(t, chains, newest)
}

func TestDirSaysWhatIsWrongWithAFile(t *testing.T) {
	ca := newCA(t)
	now := time.Now()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pem := func(config testsite.SiteConfig) func(t *testing.T, dir, path string) {
		return func(t *testing.T, dir, _ string) {
			if _, err := newSite(t, ca, siteName, config).WriteChain(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	text := func(text string) func(t *testing.T, dir, path string) {
		return func(t *testing.T, _, path string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name  string
		write func(t *testing.T, dir, path string)
		why   string
	}{
		{"empty", text(""), "holds no certificate"},
		{"not PEM", text("hello"), "holds no certificate"},
		{"not a certificate", text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "can't be parsed"},
		{"too long", text(strings.Repeat("x", maxFile+1)), "can't be read"},
		{"directory", func(t *testing.T, _, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "can't be read"},
		{"pipe", func(t *testing.T, _, path string) {
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "can't be read"},
		{"expired", pem(testsite.SiteConfig{Curve: elliptic.P256(), NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)}), "expired"},
		{"other name", pem(testsite.SiteConfig{Curve: elliptic.P256(), Names: []string{"other.example"}}), "for other names"},
		{"Ed25519", pem(testsite.SiteConfig{Keys: []crypto.Signer{ed}}), "isn't accepted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.write(t, dir, filepath.Join(dir, siteName+".pem"))
			_, err := Dir(dir, DirConfig{})(t.Context(), siteName)
			u := unavailable(t, err, siteName, c.why)
			if errors.Is(u, ErrUnknownSite) {
				t.Error("the site counts as unknown; it has a file")
			}
			if strings.Contains(u.Reason, dir) {
				t.Errorf("the uploader is shown the path: %v", err)
			}
		})
	}
}

func TestDirStaysInside(t *testing.T) {
	ca, outer := newCA(t), t.TempDir()
	dir := filepath.Join(outer, "certs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := newSite(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P256()}).WriteChain(outer); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(notNames(), "../"+siteName, "certs/../../"+siteName, filepath.Join(outer, siteName)) {
		_, err := Dir(dir, DirConfig{})(t.Context(), name)
		unavailable(t, err, name, "is not a host name")
	}
	_, err := Dir(dir, DirConfig{})(t.Context(), siteName)
	if u := unavailable(t, err, siteName, "set up no certificate"); !errors.Is(u, ErrUnknownSite) {
		t.Errorf("%v; want one that wraps ErrUnknownSite", u)
	}
}

func TestFirstOfGoesOnWhereASiteIsUnknown(t *testing.T) {
	ca, dir := newCA(t), t.TempDir()
	served, address := serve(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P256()})
	network := Network(at(ca, address))
	source := FirstOf(Dir(dir, DirConfig{}), network)
	chains, err := source(t.Context(), siteName)
	if err != nil {
		t.Fatal(err)
	}
	checkServed(t, served, chains[0], kindECDSA)

	written := newSite(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P384()})
	path, err := written.WriteChain(dir)
	if err != nil {
		t.Fatal(err)
	}
	if chains, err = source(t.Context(), siteName); err != nil {
		t.Fatal(err)
	}
	checkSame(t, chains, written)

	// A file that is there but of no use is not passed over in silence.
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = source(t.Context(), siteName)
	unavailable(t, err, siteName, "holds no certificate")

	_, err = FirstOf()(t.Context(), siteName)
	unavailable(t, err, siteName, "no place to get certificates from")
	_, err = FirstOf(Dir(t.TempDir(), DirConfig{}))(t.Context(), siteName)
	unavailable(t, err, siteName, "set up no certificate")
}

func FuzzChooseChains(f *testing.F) {
	ca, err := testsite.NewCA(testsite.CAConfig{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ca.RootsPEM())
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	now := time.Now()
	f.Fuzz(func(t *testing.T, text []byte) {
		chains, err := chooseChains(siteName, text, now)
		if _, ok := errors.AsType[*Unavailable](err); (err == nil) != (len(chains) > 0) || err != nil && !ok {
			t.Errorf("%d chains and error %v", len(chains), err)
		}
	})
}
