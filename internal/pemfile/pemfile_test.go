package pemfile

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

// party has a key and a certificate.
type party struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// newParty makes a certificate that issuer signed, or its own key if that is nil.
func newParty(t *testing.T, name string, issuer *party) *party {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	p := &party{key: key}
	if issuer == nil {
		issuer = &party{key, template}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.cert, key.Public(), issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	if p.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *party) pem() string { return blockOf("CERTIFICATE", p.cert.Raw) }

func (p *party) keyDER(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func blockOf(label string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
}

// negative is a certificate that Go doesn't parse: its serial number is negative.
func negative(t *testing.T, p *party) []byte {
	t.Helper()
	serial := []byte{2, 1, 7}
	at := bytes.Index(p.cert.Raw, serial)
	if at < 0 {
		t.Fatal("no serial number")
	}
	der := bytes.Clone(p.cert.Raw)
	der[at+2] = 0x87
	return der
}

func toUTF16(text string, order binary.AppendByteOrder, mark bool) string {
	var b []byte
	if mark {
		b = order.AppendUint16(b, 0xfeff)
	}
	for _, unit := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

// pkcs7 is a SignedData that holds certificates and nothing else.
func pkcs7(t *testing.T, certificates ...*x509.Certificate) []byte {
	t.Helper()
	wrap := func(class, tag int, parts ...[]byte) []byte {
		der, err := asn1.Marshal(asn1.RawValue{Class: class, Tag: tag, IsCompound: true, Bytes: slices.Concat(parts...)})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	oid := func(numbers ...int) []byte {
		der, err := asn1.Marshal(asn1.ObjectIdentifier(numbers))
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	var raw [][]byte
	for _, c := range certificates {
		raw = append(raw, c.Raw)
	}
	signed := wrap(asn1.ClassUniversal, asn1.TagSequence, []byte{2, 1, 1}, wrap(asn1.ClassUniversal, asn1.TagSet),
		wrap(asn1.ClassUniversal, asn1.TagSequence, oid(1, 2, 840, 113549, 1, 7, 1)),
		wrap(asn1.ClassContextSpecific, 0, raw...), wrap(asn1.ClassUniversal, asn1.TagSet))
	return wrap(asn1.ClassUniversal, asn1.TagSequence, oid(1, 2, 840, 113549, 1, 7, 2), wrap(asn1.ClassContextSpecific, 0, signed))
}

func TestFilesAsPeopleHaveThem(t *testing.T) {
	root := newParty(t, "root", nil)
	leaf := newParty(t, "site.example", root)
	both := leaf.pem() + root.pem()
	key := blockOf("PRIVATE KEY", leaf.keyDER(t))
	sec1, err := x509.MarshalECPrivateKey(leaf.key)
	if err != nil {
		t.Fatal(err)
	}
	odd := blockOf("CERTIFICATE", negative(t, leaf))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edDER, err := x509.MarshalPKCS8PrivateKey(ed)
	if err != nil {
		t.Fatal(err)
	}
	cut := strings.LastIndex(both, "-----END")
	for _, c := range []struct {
		name, content      string
		certificates, keys int
		problems           []string // a part of each
	}{
		{"plain", both, 2, 0, nil},
		{"byte-order mark", "\xef\xbb\xbf" + both, 2, 0, nil},
		{"Windows line ends", strings.ReplaceAll(both, "\n", "\r\n"), 2, 0, nil},
		{"old Mac line ends, which are none", strings.ReplaceAll(both, "\n", "\r"), 2, 0, nil},
		{"UTF-16, as PowerShell writes it", toUTF16(both, binary.LittleEndian, true), 2, 0, nil},
		{"UTF-16, the other order", toUTF16(both, binary.BigEndian, true), 2, 0, nil},
		{"UTF-16 without a mark", toUTF16(both, binary.LittleEndian, false), 2, 0, nil},
		{"text around it", "subject=CN = site.example\n\n" + leaf.pem() + "\nissuer: root\n" + root.pem() + "the end", 2, 0, nil},
		{"no line break between blocks", strings.TrimSuffix(leaf.pem(), "\n") + root.pem(), 2, 0, nil},
		{"indented", strings.ReplaceAll(both, "\n", "\n    "), 2, 0, nil},
		{"line ends written out", strings.ReplaceAll(both, "\n", `\n`), 2, 0, nil},
		{"in one line", strings.ReplaceAll(both, "\n", " "), 2, 0, nil},
		{"key and certificates mixed", leaf.pem() + key + root.pem(), 2, 1, nil},
		{"headers", strings.Replace(both, "CERTIFICATE-----\n", "CERTIFICATE-----\nX-Name: a\n\n", 1), 2, 0, nil},
		{"OpenSSL's trusted certificate", blockOf("TRUSTED CERTIFICATE", append(bytes.Clone(leaf.cert.Raw), 0x30, 0)), 1, 0, nil},
		{"PKCS #7", blockOf("PKCS7", pkcs7(t, leaf.cert, root.cert)), 2, 0, nil},
		{"PKCS #7 in DER", string(pkcs7(t, leaf.cert, root.cert)), 2, 0, nil},
		{"DER", string(leaf.cert.Raw), 1, 0, nil},
		{"DER of several", string(leaf.cert.Raw) + string(root.cert.Raw), 2, 0, nil},
		{"key in DER", string(leaf.keyDER(t)), 0, 1, nil},
		{"SEC 1 key in DER", string(sec1), 0, 1, nil},
		{"key under another label", blockOf("PRIVATE KEY", sec1), 0, 1, nil},
		{"other blocks", blockOf("EC PARAMETERS", []byte{6, 0}) + blockOf("DH PARAMETERS", []byte{0x30, 0}) + both, 2, 0, nil},

		{"one odd certificate among good ones", leaf.pem() + odd + root.pem(), 2, 0, []string{"block 2 (line 12): it is a certificate that can't be parsed"}},
		{"an odd certificate in DER", string(negative(t, leaf)), 0, 0, []string{"negative serial number"}},
		{"cut off", both[:cut], 1, 0, []string{"block 2 (line 12): it has no line -----END CERTIFICATE-----"}},
		{"cut off in the middle", leaf.pem()[:200] + "\n" + root.pem(), 1, 0, []string{"block 1 (line 1): it has no line"}},
		{"damaged", strings.Replace(both, "MII", "M!I", 1), 1, 0, []string{"block 1 (line 1): what is between"}},
		{"other end", strings.Replace(leaf.pem(), "END CERTIFICATE", "END PKCS7", 1) + root.pem(), 1, 0, []string{"ends as another block"}},
		{"damaged DER", string(leaf.cert.Raw[:100]), 0, 0, []string{"copy it again"}},
		{"PKCS #12", "\x30\x03\x02\x01\x03", 0, 0, []string{"openssl pkcs12", "openssl pkcs12"}},
		{"encrypted key", blockOf("ENCRYPTED PRIVATE KEY", []byte{1}), 0, 0, []string{"openssl pkey"}},
		{"OpenSSH's key", blockOf("OPENSSH PRIVATE KEY", []byte{1}), 0, 0, []string{"ssh-keygen"}},
		{"Ed25519", blockOf("PRIVATE KEY", edDER), 0, 0, []string{"RSA or ECDSA"}},
		{"secp256k1", blockOf("PRIVATE KEY", bytes.Replace(leaf.keyDER(t), []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}, []byte{6, 5, 0x2b, 0x81, 4, 0, 0x0a, 5, 1, 0}, 1)), 0, 0, []string{"secp256k1"}},
	} {
		f := Parse("some.pem", []byte(c.content))
		if len(f.Certificates) != c.certificates || len(f.Keys) != c.keys || len(f.Problems) != len(c.problems) {
			t.Errorf("%s: %d certificates, %d keys, problems %v", c.name, len(f.Certificates), len(f.Keys), f.Problems)
			continue
		}
		for i, want := range c.problems {
			if text := f.Problems[i].Error(); !strings.Contains(text, want) || !strings.HasPrefix(text, "some.pem, ") {
				t.Errorf("%s: %q, want %q", c.name, text, want)
			}
		}
		for i, want := range []*x509.Certificate{leaf.cert, root.cert}[:min(c.certificates, 2)*min(1, 2-len(c.problems))] {
			if len(c.problems) == 0 && !f.Certificates[i].Equal(want) {
				t.Errorf("%s: certificate %d is another one", c.name, i+1)
			}
		}
	}
}

// write makes a file.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPairFindsTheCertificateOfTheKey(t *testing.T) {
	root := newParty(t, "root", nil)
	middle := newParty(t, "middle", root)
	leaf := newParty(t, "site.example", middle)
	other := newParty(t, "other.example", nil)
	key := blockOf("PRIVATE KEY", leaf.keyDER(t))
	odd := blockOf("CERTIFICATE", negative(t, leaf))
	keyFile := write(t, "key.pem", "\xef\xbb\xbf"+key)
	want := []*party{leaf, middle, root}
	for name, content := range map[string]string{
		"in order": leaf.pem() + middle.pem() + root.pem(), "turned around": root.pem() + middle.pem() + leaf.pem(),
		"with others": other.pem() + middle.pem() + leaf.pem() + root.pem(),
	} {
		pair, problems, err := Pair(write(t, "cert.pem", content), keyFile)
		if err != nil || len(problems) > 0 || len(pair.Certificate) != len(want) {
			t.Errorf("%s: %d certificates, %v, %v", name, len(pair.Certificate), problems, err)
			continue
		}
		for i, p := range want {
			if !bytes.Equal(pair.Certificate[i], p.cert.Raw) {
				t.Errorf("%s: certificate %d is another one", name, i+1)
			}
		}
	}
	one := write(t, "both.pem", key+middle.pem()+odd+leaf.pem())
	pair, problems, err := Pair(one, one)
	if err != nil || len(pair.Certificate) != 2 || len(problems) != 1 || problems[0].Block != 3 {
		t.Errorf("one file: %d certificates, %v, %v", len(pair.Certificate), problems, err)
	}

	for name, c := range map[string]struct {
		cert, key string
		want      []string
	}{
		"another key":            {other.pem(), key, []string{"none of the 1 certificates", "cert.pem", "key.pem"}},
		"files exchanged":        {key, leaf.pem(), []string{"cert.pem holds no certificate, but a private key", "key.pem holds no private key", "but a certificate"}},
		"a request":              {blockOf("CERTIFICATE REQUEST", []byte{0x30, 0}), key, []string{"the authority made from it"}},
		"empty":                  {"", "", []string{"cert.pem holds no certificate", "key.pem holds no private key"}},
		"the leaf can't be read": {odd + root.pem(), key, []string{"none of the 1 certificates", "block 1 (line 1)", "serial number"}},
		"two keys":               {leaf.pem(), key + blockOf("PRIVATE KEY", root.keyDER(t)), []string{"2 private keys"}},
		"encrypted":              {leaf.pem(), blockOf("ENCRYPTED PRIVATE KEY", []byte{1}), []string{"key.pem, block 1", "decrypt it"}},
		"not PEM":                {"hello", "hello", []string{"cert.pem holds no certificate", "key.pem holds no private key"}},
	} {
		_, _, err := Pair(write(t, "cert.pem", c.cert), write(t, "key.pem", c.key))
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
	if _, _, err := Pair("/nowhere/a.pem", "/nowhere/b.pem"); err == nil || !strings.Contains(err.Error(), "a.pem") || !strings.Contains(err.Error(), "b.pem") {
		t.Errorf("missing files: %v, want both named", err)
	}
}

func TestRootsLeavesOutOneAndSaysSo(t *testing.T) {
	a, b := newParty(t, "a", nil), newParty(t, "b", nil)
	odd := blockOf("CERTIFICATE", negative(t, a))
	pool, problems, err := Roots(write(t, "roots.pem", "\xef\xbb\xbf"+a.pem()+odd+b.pem()))
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Error(), "block 2") {
		t.Fatalf("problems %v, %v", problems, err)
	}
	for _, p := range []*party{a, b} {
		if _, err := p.cert.Verify(x509.VerifyOptions{Roots: pool}); err != nil {
			t.Errorf("%s: %v", p.cert.Subject, err)
		}
	}
	if _, _, err := Roots(write(t, "roots.pem", odd)); err == nil || !strings.Contains(err.Error(), "block 1") {
		t.Errorf("nothing but an odd one: %v", err)
	}
	if _, _, err := Roots(t.TempDir()); err == nil {
		t.Error("a folder is no file")
	}
}

// Whatever the bytes are, all that begins is accounted for.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "\x30\x03\x02\x01\x03", "\xff\xfe-\x00",
		"-----BEGIN CERTIFICATE----------END CERTIFICATE----------BEGIN PKCS7-----", "-----BEGIN PRIVATE KEY-----\nA: b\n\nAAAA-----END PRIVATE KEY-----",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		file := Parse("f", content)
		begun := strings.Count(string(content), "-----BEGIN CERTIFICATE-----\n")
		if got := len(file.Certificates) + len(file.Problems); got < begun && bytes.IndexByte(content, 0) < 0 {
			t.Errorf("%d of %d accounted for", got, begun)
		}
		var signer crypto.Signer
		for _, signer = range file.Keys {
			_ = signer.Public()
		}
		for i := range file.Certificates {
			Chain(file.Certificates, i)
		}
		for _, p := range file.Problems {
			_ = p.Error()
		}
	})
}
