package ingest

// The page's proof: its commands, run as written.

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/ingest/internal/ingesttest"
	"countersign/sink/store"
)

// provable is a site with a certificate, and one file that it signed.
type provable struct {
	store *ingesttest.Store
	tls   tls.Certificate
	root  []byte
	hash  [32]byte
}

// The name has what a shell, openssl and sha256sum treat in a way of their own.
const provenFile, provenContent = "-it's a\\b\nfile $(x) `y` \"*.txt", "what it says\n"

func newProvable(t *testing.T, key crypto.Signer, algorithm string, upper bool) *provable {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: site}, DNSNames: []string{site},
		IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Now().Add(1000 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	p := &provable{root: der, hash: sha256.Sum256([]byte(provenContent))}
	p.tls = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	text := hex.EncodeToString(p.hash[:])
	if upper {
		text = strings.ToUpper(text)
	}
	digest := sha256.Sum256([]byte(text))
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	p.store = ingesttest.NewStore()
	p.store.Chain = store.Certificate{Site: site, Chain: [][]byte{der, der}}
	p.store.Signed[p.hash] = store.SignedHash{
		Site: site, SignedAt: time.Now().UnixMilli(), Algorithm: algorithm, Signature: signature,
		Certificate: sha256.Sum256(der), Case: letterCase(upper),
	}
	return p
}

// commands are the page's steps for the file.
func (p *provable) commands(t *testing.T, h *harness) []string {
	t.Helper()
	r := h.Do("GET", "/api/v1/hash/"+hex.EncodeToString(p.hash[:]), nil)
	return steps(t, h.Do("GET", "/static/page.js", nil).Body, h.URL, provenFile, r.Body)
}

// steps asks the page for its commands: it runs under Node.js, with nothing of a browser but what it touches when it
// starts.
func steps(t *testing.T, page, origin, file, reply string) []string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("install Node.js: this runs the page's script, and the embedded engine comes by npm anyway")
	}
	script := fmt.Sprintf(`const stub = {addEventListener() {}}, document = {getElementById: () => stub}, window = stub;
const location = {origin: %q};
%s
console.log(JSON.stringify(steps(%q, %s, true).map((s) => s[1])));`, origin, page, file, reply)
	out, err := exec.CommandContext(t.Context(), node, "-e", script).Output()
	if err != nil {
		t.Fatalf("node: %v", err)
	}
	var commands []string
	if err := json.Unmarshal(out, &commands); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return commands
}

// The commands of docs/troubleshooting.md are the page's. Their options are those that OpenSSL 1.0.1 had, where LibreSSL
// began: it has few of the later ones.
func TestProofCommandsOfTheDocuments(t *testing.T) {
	page, err := os.ReadFile("../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("web/static/page.js")
	if err != nil {
		t.Fatal(err)
	}
	const reply = `{"algorithm": "RSA", "site": "SITE", "signedAt": "1970-01-01T00:00:00Z", "signedText": "0", "signature": "SIGNATURE", "certificate": "CERTIFICATE"}`
	old := strings.Fields("-sha256 -r -c -d -w -connect -servername -showcerts -tls1_2 -cipher -in -noout -pubkey -verify -signature " +
		"-purpose -untrusted -attime -text -n -fsS")
	option := regexp.MustCompile(`(?:^| )(-[a-zA-Z]\w*)`)
	for _, command := range steps(t, string(script), "https://SERVICE", "FILE", reply) {
		command = strings.Replace(command, "-attime 0 ", "-attime SECONDS ", 1)
		if !strings.Contains(string(page), "\n"+command+"\n") {
			t.Errorf("docs/troubleshooting.md lacks this command of the page:\n%s", command)
		}
		for _, m := range option.FindAllStringSubmatch(command, -1) {
			if !slices.Contains(old, m[1]) {
				t.Errorf("%s is not an option of every openssl: %s", m[1], command)
			}
		}
	}
}

func TestProofCommands(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaSite, ecSite := newProvable(t, rsaKey, "RSA-PKCS1-SHA256", false), newProvable(t, ecKey, "ECDSA-SHA256", true)
	oldSite := newProvable(t, ecKey, "ECDSA-SHA256", true)
	row := oldSite.store.Signed[oldSite.hash]
	row.Case = store.UnknownCase
	oldSite.store.Signed[oldSite.hash] = row
	for name, p := range map[string]*provable{
		"RSA": rsaSite, "ECDSA, capital letters": ecSite, "ECDSA, letters that nobody knows": oldSite,
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, func(c *Config) { c.Store = p.store })
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, provenFile), []byte(provenContent), 0o600); err != nil {
				t.Fatal(err)
			}
			root := filepath.Join(dir, "roots.pem")
			writePEM(t, root, "CERTIFICATE", p.root)
			run := func(command string) string {
				t.Helper()
				cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
				cmd.Dir, cmd.Env = dir, append(os.Environ(), "SSL_CERT_FILE="+root)
				out, _ := cmd.CombinedOutput()
				return string(out)
			}
			c := p.commands(t, h)
			run(c[0])
			run(c[1])
			// The site itself has both kinds of certificate, and would rather show the other.
			shown := p.tls
			if p == rsaSite {
				shown = ecSite.tls
			}
			lowest := uint16(tls.VersionTLS12)
			if p == oldSite {
				lowest = tls.VersionTLS13
			}
			address := serveBoth(t, lowest, shown, rsaSite.tls)
			fromSite := run(strings.Replace(c[2], site+":443", address, 1))
			proofs, whose, kept := c[3:len(c)-2], c[len(c)-2], c[len(c)-1]
			if known := p != oldSite; known && len(proofs) != 1 || !known && len(proofs) != 2 {
				t.Errorf("%d proofs", len(proofs))
			}
			certified := func(out string) {
				t.Helper()
				if !strings.Contains(out, "site.pem: OK") || !strings.Contains(out, "DNS:"+site) {
					t.Errorf("whose certificate it is: %s", out)
				}
			}
			certified(run(whose))
			if out := run("unset SSL_CERT_FILE; " + strings.Replace(whose, "verify ", "verify -CAfile "+root+" ", 1)); !strings.Contains(out, "site.pem: OK") {
				t.Errorf("with a private authority: %s", out)
			}
			proof := func() (good int) {
				for _, command := range proofs {
					good += strings.Count(run(command), "Verified OK")
				}
				return good
			}
			if proof() != 1 {
				t.Errorf("with the site's certificate: it proves nothing\n%s", fromSite)
			}
			if err := os.Remove(filepath.Join(dir, "key.pem")); err != nil {
				t.Error(err)
			}
			certified(run(kept))
			if proof() != 1 {
				t.Error("with the certificate from here: it proves nothing")
			}
		})
	}
}

// serveBoth shakes hands with certificates, as a web server does.
func serveBoth(t *testing.T, lowest uint16, certificates ...tls.Certificate) (address string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: lowest, Certificates: certificates})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			_ = c.(*tls.Conn).Handshake()
			_, _ = c.Read(make([]byte, 1)) // until the client goes
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func TestCertificateCall(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := newProvable(t, key, "ECDSA-SHA256", false)
	sum := sha256.Sum256(p.root)
	fingerprint := hex.EncodeToString(sum[:])
	h := start(t, func(c *Config) { c.Store = p.store })
	r := h.Do("GET", "/api/v1/certificate/"+strings.ToUpper(fingerprint), nil)
	kind := r.Header.Get("Content-Type")
	if r.Status != 200 || kind != "application/pem-certificate-chain" || strings.Count(r.Body, "BEGIN CERTIFICATE") != 2 {
		t.Errorf("%d %v %s", r.Status, r.Header, r.Body)
	}
	h.Problem(h.Do("GET", "/api/v1/certificate/"+hashText(1), nil), 404, "unknown-certificate")
	for _, text := range []string{"x", fingerprint[1:], fingerprint + "0", "%00", strings.Repeat("z", 64)} {
		h.Problem(h.Do("GET", "/api/v1/certificate/"+text, nil), 400, "invalid-parameter")
	}
	p.store.With(func(s *ingesttest.Store) { s.Away = true })
	h.Problem(h.Do("GET", "/api/v1/certificate/"+fingerprint, nil), 503, "store-unavailable")
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
