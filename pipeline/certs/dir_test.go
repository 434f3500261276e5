package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"countersign/internal/pemfile"
	"countersign/testsite"
)

func TestDirGivesTheChainsOfItsFile(t *testing.T) {
	ca, dir := newCA(t), t.TempDir()
	site := newSite(t, ca, siteName, testsite.SiteConfig{Keys: []crypto.Signer{keyAt(t, elliptic.P256()), rsaKey()}})
	if _, err := site.WriteChain(dir); err != nil {
		t.Fatal(err)
	}
	source := quietDir(dir)
	chains, err := chainsIn(t, source)
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
	if chains, err = chainsIn(t, source); err != nil {
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

// A file is parsed again when its inode, length or time is another one, and not otherwise.
func TestAFileIsReadAgainWhenItChanged(t *testing.T) {
	folder := t.TempDir()
	site := newSite(t, newCA(t), siteName, testsite.SiteConfig{Curve: elliptic.P256()})
	path, err := site.WriteChain(folder)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	longAgo := time.Now().Add(-time.Hour)
	write := func(text []byte, changed time.Time) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, changed, changed); err != nil {
			t.Fatal(err)
		}
	}
	d := quietDir(folder)
	check := func(what string, want bool) {
		t.Helper()
		if _, err := chainsIn(t, d); (err == nil) != want {
			t.Errorf("%s: error %v, want none: %t", what, err, want)
		}
	}
	nothing := bytes.Repeat([]byte("x"), len(text))
	write(text, longAgo)
	check("the file", true)
	write(nothing, longAgo)
	check("another text that looks the same from outside", true)
	write(nothing, longAgo.Add(time.Nanosecond))
	check("another time", false)
	write(text, longAgo)
	check("the first text again", true)
	write(nothing[1:], longAgo)
	check("another length", false)
	// Shortly after a change the time tells nothing: the file system's clock may not have gone on.
	now := time.Now()
	write(text, now)
	check("a new file", true)
	write(nothing, now)
	check("another text at the same time", false)
}

func TestAllLeavesOfAFileThatAreValidCount(t *testing.T) {
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
	older := write(testsite.SiteConfig{Curve: elliptic.P256(), NotBefore: now.Add(-3 * time.Hour), SelfSigned: true})
	newest := write(testsite.SiteConfig{Curve: elliptic.P256(), NotBefore: now.Add(-2 * time.Hour)})
	write(testsite.SiteConfig{Curve: elliptic.P256(), NotBefore: now.Add(time.Hour)})
	write(testsite.SiteConfig{Curve: elliptic.P256(), NotBefore: now.Add(-90 * time.Minute), NotAfter: now.Add(-time.Minute)})
	write(testsite.SiteConfig{Curve: elliptic.P256(), Names: []string{"other.example"}})
	other := write(testsite.SiteConfig{Keys: []crypto.Signer{rsaKey()}, NotBefore: now.Add(-150 * time.Minute)})
	text = append([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\nsome text\n"), text...)
	if err := os.WriteFile(filepath.Join(dir, siteName+".pem"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	chains, err := chainsIn(t, newDir(dir, func() time.Time { return now }, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	if len(chains) != 3 {
		t.Fatalf("%d chains, want 3", len(chains))
	}
	checkSame(t, chains[:1], other)
	checkSame(t, chains[1:2], newest)
	checkSame(t, chains[2:], older)
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
		{"not a certificate", text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "block 1 (line 1): it is a certificate that can't be parsed"},
		{"PKCS #12", text("\x30\x03\x02\x01\x03"), "openssl pkcs12"},
		{"key alone", text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "holds no certificate"},
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
			_, err := chainsIn(t, quietDir(dir))
			u := unavailable(t, err, siteName, c.why)
			if errors.Is(u, errUnknownSite) {
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
	sites := newSites(t, Config{Dir: dir, source: func(_ context.Context, site string, _ []account) ([]found, bool, error) {
		t.Errorf("%q was asked", site)
		return nil, false, errors.New("asked")
	}})
	for _, name := range append(notNames(), "../"+siteName, "certs/../../"+siteName, filepath.Join(outer, siteName)) {
		_, err := sites.Await(t.Context(), name, "")
		unavailable(t, err, name, "is not a host name")
	}
	_, err := chainsIn(t, quietDir(dir))
	if u := unavailable(t, err, siteName, "set up no certificate"); !errors.Is(u, errUnknownSite) {
		t.Errorf("%v; want one that wraps errUnknownSite", u)
	}
}

func TestTheNetworkIsAskedWhereThereIsNoFile(t *testing.T) {
	ca, dir := newCA(t), t.TempDir()
	served, address := serve(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P256()})
	sites := newSites(t, Config{Dir: dir, Network: at(ca, address)})
	known, err := sites.Await(t.Context(), siteName, "")
	if err != nil {
		t.Fatal(err)
	}
	checkServed(t, served, known.Leaves[0].Chain, kindECDSA)

	written := newSite(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P384()})
	path, err := written.WriteChain(dir)
	if err != nil {
		t.Fatal(err)
	}
	if known, err = sites.Look(t.Context(), siteName, "", time.Now()); err != nil {
		t.Fatal(err)
	}
	if len(known.Leaves) != 2 {
		t.Fatalf("%d leaves, want the file's and the one that was seen before", len(known.Leaves))
	}
	checkSame(t, known.Chains()[:1], written)
	checkServed(t, served, known.Leaves[1].Chain, kindECDSA)

	// A file that is there but of no use is not passed over in silence.
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	known, err = sites.Look(t.Context(), siteName, "", time.Now())
	unavailable(t, err, siteName, "holds no certificate")
	if len(known.Leaves) != 2 {
		t.Errorf("%d leaves beside the error, want those that are known", len(known.Leaves))
	}
}

func TestAFolderThatIsGoneIsNoEmptyFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	asked := 0
	sites := newSites(t, Config{Dir: dir, source: func(_ context.Context, site string, _ []account) ([]found, bool, error) {
		asked++
		return nil, false, &Unavailable{Site: site, Reason: "away; come back"}
	}})
	check := sites.Checks()[0]
	if err := check.Probe(t.Context()); err != nil {
		t.Errorf("the folder is there: %v", err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := check.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("the folder is gone: %v, want an error that names it", err)
	}
	_, err := sites.Await(t.Context(), siteName, "")
	if u := unavailable(t, err, siteName, "folder of certificates"); strings.Contains(u.Reason, dir) || asked != 0 {
		t.Errorf("reason %q, and the network was asked %d times", u.Reason, asked)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := check.Probe(t.Context()); err != nil {
		t.Errorf("the folder is back: %v", err)
	}
	if len(newSites(t, Config{}).Checks()) != 0 {
		t.Error("there is a check without a folder")
	}
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
		chains, err := chooseChains(siteName, pemfile.Parse("f", text), now)
		if _, ok := errors.AsType[*Unavailable](err); (err == nil) != (len(chains) > 0) || err != nil && !ok {
			t.Errorf("%d chains and error %v", len(chains), err)
		}
	})
}

// The order in a file doesn't matter, and neither does a certificate in it that can't be read; the log says which.
func TestWhatIsOddInAFileSpoilsNothing(t *testing.T) {
	folder := t.TempDir()
	site := newSite(t, newCA(t), siteName, testsite.SiteConfig{Curve: elliptic.P256()})
	path, err := site.WriteChain(folder)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const end = "-----END CERTIFICATE-----\n"
	blocks := strings.SplitAfter(strings.TrimSpace(string(text))+"\n", end)
	slices.Reverse(blocks)
	odd := "-----BEGIN CERTIFICATE-----\nMAA=\n" + end
	if err := os.WriteFile(path, []byte("\xef\xbb\xbf"+odd+strings.Join(blocks, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	d := newDir(folder, time.Now, slog.New(slog.NewTextHandler(&log, nil)))
	chains, err := chainsIn(t, d)
	if err != nil {
		t.Fatal(err)
	}
	checkSame(t, chains, site)
	if text := log.String(); !strings.Contains(text, "used without it") || !strings.Contains(text, "block 1") || !strings.Contains(text, path) {
		t.Errorf("the log says %q", text)
	}
}

// A certificate under a name that no site has isn't passed over in silence.
func TestFilesWithOtherNamesAreNamed(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{"bank.example.crt", "Bank.example.pem", "shop.example.pem", "README", "shop.example.key"} {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	newDir(folder, time.Now, slog.New(slog.NewTextHandler(&log, nil))).nameStrays()
	if text := log.String(); !strings.Contains(text, `file="[Bank.example.pem bank.example.crt]"`) {
		t.Errorf("the log says %q", text)
	}
	log.Reset()
	newDir(t.TempDir(), time.Now, slog.New(slog.NewTextHandler(&log, nil))).nameStrays()
	if log.Len() > 0 {
		t.Errorf("of an empty folder the log says %q", &log)
	}
}

func quietDir(folder string) *dir { return newDir(folder, time.Now, slog.New(slog.DiscardHandler)) }

// chainsIn are the chains of siteName's file.
func chainsIn(t *testing.T, d *dir) ([]Chain, error) {
	found, err := d.look(t.Context(), siteName)
	return chainsOfFound(found), err
}
